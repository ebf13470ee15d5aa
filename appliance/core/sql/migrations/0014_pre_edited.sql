-- How often an operator has changed a task's payload. Its steps answer another question from then on, so they get other
-- keys (PROTOCOLS 7.2): whoever knows the old one would answer with what was done for the old payload.
alter table tasks add column edits int not null default 0;

-- A trigger, so that it is counted whatever changes a payload; neither a claim nor a commit calls it.
create function count_edit() returns trigger language plpgsql as $$
begin
  new.edits := old.edits + 1;
  return new;
end $$;
create trigger edits_are_counted before update of payload on tasks for each row
  when (old.payload is distinct from new.payload) execute function count_edit();
