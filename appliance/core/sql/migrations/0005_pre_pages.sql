-- What the control plane's pages look for in large tables.
create index audit_log_actions on audit_log(action, at);
create index boots_dead on boots(dead_at) where dead_at is not null;
create index boots_started on boots(started_at);
