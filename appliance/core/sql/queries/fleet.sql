-- name: desired_fleet
select slots, resting, version, changed_by, changed_at from desired_fleet where id = 1;

-- name: set_first_desired_fleet
insert into desired_fleet(id, slots, changed_by) values (1, %(slots)s::int[], %(by)s) on conflict (id) do nothing;

-- name: set_desired_fleet
select set_desired_fleet(%(key)s, %(by)s, %(action)s, %(subject)s, %(slots)s::int[], %(resting)s::int[], %(version)s, %(trace)s);

-- name: begin_request
select begin_request(%(key)s, %(by)s, %(action)s, %(subject)s, %(detail)s::jsonb, %(trace)s);

-- name: request
select actor, action, subject, answer from requests where key = %(key)s;

-- name: end_request
select end_request(%(key)s, %(outcome)s);

-- name: recent_orders
select * from orders where ended_at is null or ended_at > clock_timestamp() - make_interval(secs => %(within_s)s)
 order by asked_at;
