-- What the fleet should be, by slot, and requests that may be repeated.

-- Answered once: whoever repeats a request with its key is given the first answer, and nothing is done again.
create table requests(
  key uuid primary key,
  tenant_id text not null default 'default',
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  subject text not null default '',
  answer jsonb,                  -- null: it is under way, or was cut off
  trace_id text not null default '');

-- After 3 -> 2 with agent-2 drained the slots are {1,3}: which ones, not only how many.
alter table desired_fleet
  add column slots int[],
  add column resting int[] not null default '{}',  -- taken out of service on purpose; `up` or a restart brings them back
  add column version bigint not null default 1;    -- grows with each change
update desired_fleet set slots = (select array_agg(n) from generate_series(1, agents) n);
alter table desired_fleet
  drop column agents,
  alter column slots set not null,
  add column number int generated always as (cardinality(slots)) stored,
  add constraint between_1_and_1000_slots check (cardinality(slots) between 1 and 1000 and 0 < all(slots)),
  add constraint only_slots_rest check (resting <@ slots);

create function fleet_as_json(v desired_fleet) returns jsonb language sql immutable as $$
  select jsonb_build_object('slots', v.slots, 'resting', v.resting, 'version', v.version,
                            'changed_by', v.changed_by, 'changed_at', v.changed_at)
$$;

-- One change of the row with its audit row. null = the row is no longer the one it was decided on: read it, decide anew.
create function set_desired_fleet(p_key uuid, p_by text, p_action text, p_subject text, p_slots int[], p_resting int[],
                                  p_version bigint, p_trace text) returns jsonb language plpgsql as $$
declare v_old desired_fleet; v_new desired_fleet; v_asked requests;
begin
  select * into v_old from desired_fleet where id = 1 for update;
  select * into v_asked from requests where key = p_key;
  if found then
    if (v_asked.action, v_asked.subject) is distinct from (p_action, p_subject) then
      raise exception 'This key belongs to another request (% %); send a new one.', v_asked.action, v_asked.subject
        using errcode = 'NX409';
    end if;
    return v_asked.answer;
  end if;
  if v_old.version <> p_version then return null; end if;
  v_new := v_old;
  if (v_old.slots, v_old.resting) is distinct from (p_slots, p_resting) then
    update desired_fleet set slots = p_slots, resting = p_resting, version = version + 1, changed_by = p_by,
                             changed_at = clock_timestamp()
     where id = 1 returning * into v_new;
    perform audit(p_by, p_action, p_subject, jsonb_build_object(
      'request', p_key, 'from', v_old.slots, 'to', p_slots, 'resting', p_resting), p_trace);
  end if;
  insert into requests(key, actor, action, subject, answer, trace_id)
  values (p_key, p_by, p_action, p_subject, fleet_as_json(v_new), p_trace);
  return fleet_as_json(v_new);
end $$;

-- The beginning of something that no row can do, audited before it is done.
create function begin_request(p_key uuid, p_by text, p_action text, p_subject text, p_detail jsonb, p_trace text)
returns void language plpgsql as $$
begin
  insert into requests(key, actor, action, subject, trace_id) values (p_key, p_by, p_action, p_subject, p_trace)
  on conflict (key) do nothing;
  if not found then
    raise exception 'This key was used for another request; send a new one.' using errcode = 'NX409';
  end if;
  perform audit(p_by, p_action, p_subject, p_detail || jsonb_build_object('request', p_key), p_trace);
end $$;

-- Its end: the answer for whoever repeats it, and what became of it in the audit log.
create function end_request(p_key uuid, p_outcome text) returns void language plpgsql as $$
declare v requests;
begin
  update requests set answer = to_jsonb(p_outcome) where key = p_key and answer is null returning * into v;
  if found then
    perform audit(v.actor, v.action || ': outcome', v.subject,
                  jsonb_build_object('request', p_key, 'outcome', p_outcome), v.trace_id);
  end if;
end $$;
