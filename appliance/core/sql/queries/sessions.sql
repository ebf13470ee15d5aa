-- name: known_past
-- The summary that stands for the oldest turns before this one, if there is one, and how much was said in all.
select coalesce(s.upto_turn, 0) as upto_turn, coalesce(s.text, '') as text, coalesce(s.model, '') as model,
       (select count(*) from messages m join tasks t on t.id = m.task_id
         where m.conversation_id = c.id and m.turn_no < %(turn_no)s and t.state = 'done') as messages
  from conversations c
  left join conversation_summaries s on s.conversation_id = c.id and s.upto_turn < %(turn_no)s
 where c.id = %(conversation)s;

-- name: history
-- What a model is told: whole turns that were answered, the newest of those after the summary, up to so many bytes.
select turn_no, role, text from (
  select turn_no, role, text, sum(octet_length(text)) over (order by turn_no desc, role) as bytes from (
    select m.turn_no, m.role, m.text from messages m join tasks t on t.id = m.task_id
     where m.conversation_id = %(conversation)s and m.turn_no < %(turn_no)s and m.turn_no > %(upto_turn)s
       and t.state = 'done'
     order by m.turn_no desc, m.role limit %(limit)s) newest) counted
 where bytes <= %(bytes)s order by turn_no, role desc;

-- name: keep_summary
-- An older summary never replaces a newer one, and a deleted conversation gets none.
insert into conversation_summaries as s (conversation_id, tenant_id, user_id, upto_turn, text, model, trace_id)
select id, tenant_id, user_id, %(upto_turn)s, %(text)s, %(model)s, %(trace)s from conversations
 where id = %(conversation)s and deleted_at is null
on conflict (conversation_id) do update
   set upto_turn = excluded.upto_turn, text = excluded.text, model = excluded.model, trace_id = excluded.trace_id,
       made_at = now()
 where s.upto_turn < excluded.upto_turn;

-- name: summary
select upto_turn, text, model from conversation_summaries where conversation_id = %(conversation)s;
