-- Counted at every scrape, among a hundred thousand rows that ended well.
create index tasks_dead on tasks(state_at) where state = 'dead';
