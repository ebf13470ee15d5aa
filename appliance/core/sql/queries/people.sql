-- name: user_by_name
select id, name, role, tenant_id, password_hash from users where tenant_id = %(tenant)s and name = %(name)s;

-- name: ensure_user
insert into users(tenant_id, name, role) values (%(tenant)s, %(name)s, %(role)s)
on conflict (tenant_id, name) do update set name = excluded.name returning id, name, role, tenant_id;

-- name: give_role
-- Make a person, or change what an existing one may do. A change is audited; logins notice it within two seconds.
with before as (select role from users where tenant_id = %(tenant)s and name = %(name)s),
     person as (insert into users(tenant_id, name, role) values (%(tenant)s, %(name)s, %(role)s)
                on conflict (tenant_id, name) do update set role = excluded.role returning id)
select p.id, case when b.role is distinct from %(role)s then
         audit(%(by)s, 'give role', %(name)s, jsonb_build_object('role', %(role)s::text, 'before', b.role), %(trace)s)
       end as audited
  from person p left join before b on true;

-- name: set_password
update users set password_hash = %(hash)s where id = %(user)s;

-- name: create_login_link
insert into login_links(token_sha256, user_id, expires_at)
values (%(digest)s, %(user)s, now() + make_interval(secs => %(life_s)s));

-- name: use_login_link
-- Single use: the second click finds nothing.
update login_links set used_at = now()
 where token_sha256 = %(digest)s and used_at is null and expires_at > now() returning user_id;

-- name: create_login
insert into logins(token_sha256, tenant_id, user_id, expires_at)
select %(digest)s, tenant_id, id, now() + make_interval(secs => %(life_s)s) from users where id = %(user)s;

-- name: login
select u.id, u.name, u.role, u.tenant_id from logins l join users u on u.id = l.user_id
 where l.token_sha256 = %(digest)s and l.expires_at > now();

-- name: end_login
delete from logins where token_sha256 = %(digest)s;

-- name: end_logins
-- All of a person's logins, but for the one to keep (or none).
delete from logins where user_id = %(user)s and token_sha256 <> %(keep)s;

-- name: forget_expired_logins
delete from logins where expires_at < now() - interval '1 day';
