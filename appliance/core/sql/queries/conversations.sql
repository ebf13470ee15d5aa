-- name: conversations
select id, title, updated_at from conversations
 where tenant_id = %(tenant)s and user_id = %(user)s and deleted_at is null
   and (%(search)s = '' or position(lower(%(search)s) in lower(title)) > 0)
 order by updated_at desc limit %(limit)s;

-- name: conversation
select id, title, updated_at from conversations
 where id = %(conversation)s and tenant_id = %(tenant)s and user_id = %(user)s and deleted_at is null;

-- name: create_conversation
insert into conversations(id, tenant_id, user_id, title, trace_id)
values (%(conversation)s, %(tenant)s, %(user)s, %(title)s, %(trace)s)
on conflict (id) do nothing returning id;

-- name: rename_conversation
update conversations set title = %(title)s
 where id = %(conversation)s and tenant_id = %(tenant)s and user_id = %(user)s and deleted_at is null returning id;

-- name: delete_conversation
update conversations set deleted_at = now()
 where id = %(conversation)s and tenant_id = %(tenant)s and user_id = %(user)s and deleted_at is null returning id;

-- name: messages
select * from (
  select id, task_id, turn_no, role, text, agent_id, model, meta, created_at from messages
   where conversation_id = %(conversation)s order by turn_no desc, role limit %(limit)s) newest
 order by turn_no, role desc;

-- name: message
select m.id, m.task_id, m.turn_no, m.role, m.text, m.agent_id, m.model, m.meta, m.created_at
  from messages m join conversations c on c.id = m.conversation_id
 where m.id = %(message)s and c.id = %(conversation)s and c.tenant_id = %(tenant)s and c.user_id = %(user)s
   and c.deleted_at is null;

-- name: unfinished_turns
select t.*, m.text as message from tasks t join messages m on m.task_id = t.id and m.role = 'user'
 where t.conversation_id = %(conversation)s and t.kind = 'conversation'
   and t.state in ('queued', 'running', 'waiting') order by t.turn_no;

-- name: ended_badly
-- Turns of a conversation without an answer, so that the page can say why.
select t.*, m.text as message from tasks t join messages m on m.task_id = t.id and m.role = 'user'
 where t.conversation_id = %(conversation)s and t.state in ('failed', 'dead', 'cancelled') order by t.turn_no;
