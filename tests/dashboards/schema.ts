// What a dashboard of Nexus must be: Grafana's own types (@grafana/schema 12.4.11, Apache-2.0), each panel with the options
// of its plugin. `grafana.schema.json` was made from it, in a folder where npm had installed both packages:
//   ts-json-schema-generator --path schema.ts --type NexusDashboard --no-type-check --expose none --jsDoc none --minify
import type {
  AnnotationQuery, Dashboard, FieldConfig, Panel,
} from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as Bars } from './node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type { Options as Stat } from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type {
  FieldConfig as GraphField, Options as Graph,
} from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

type Of<T extends string, O, C> = Omit<Panel, 'type' | 'options' | 'fieldConfig'> & {
  type: T;
  options: O;
  fieldConfig: { defaults: Omit<FieldConfig, 'custom'> & { custom?: C }; overrides: [] };
};
type Nothing = Record<string, never>;

/** Prometheus' plugin keeps its own words on the annotation itself. */
type Annotation = AnnotationQuery & {
  expr: string; step?: string; tagKeys?: string; textFormat?: string; titleFormat?: string; useValueForTime?: boolean;
};

export type NexusDashboard = Omit<Dashboard, 'panels' | 'annotations'> & {
  annotations: { list: Annotation[] };
  panels: (Of<'stat', Stat, Nothing> | Of<'bargauge', Bars, Nothing> | Of<'timeseries', Graph, GraphField>)[];
};
