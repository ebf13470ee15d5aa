-- name: ask_person
select * from ask_person(%(task)s, %(attempt)s, %(boot)s, %(no)s, %(about)s, %(id)s, %(tool)s, %(input)s, %(hash)s,
  make_interval(secs => %(within_s)s));

-- name: answer_approval
select * from answer_approval(%(tenant)s, %(user)s, %(conversation)s, %(id)s, %(answer)s, %(by)s);

-- name: open_approvals
-- What is asked in a conversation now.
select * from approvals where conversation_id = %(conversation)s and answer is null order by asked_at;

-- name: unannounced_approvals
-- Asked, and perhaps nobody was told.
select a.*, t.attempt from approvals a join tasks t on t.id = a.task_id
 where a.answer is null and a.announced_at is null and a.asked_at < clock_timestamp() - interval '1 second'
   and t.kind = 'conversation' and t.waits_for = 'person'
 order by a.asked_at limit 50;

-- name: announced_approval
update approvals set announced_at = clock_timestamp() where id = %(id)s;

-- name: sweep_expired
select sweep_expired(%(epoch)s, %(boot)s);

-- name: doubt_step
select doubt_step(%(task)s, %(attempt)s, %(no)s);

-- name: settle_step
select settle_step(%(task)s, %(attempt)s, %(boot)s, %(no)s, %(result)s);

-- name: questions
-- The open ones, the oldest first, then the newest of the others.
with seen as (
  (select * from approvals where answer is null order by asked_at limit %(limit)s)
  union all
  (select * from approvals where answer is not null order by answered_at desc limit %(limit)s))
select a.id, a.task_id as task, a.conversation_id as conversation, a.step_no as step, a.about, a.tool, a.input,
       u.name as person, a.asked_at, a.expires_at, a.answer, a.answered_by, a.answered_at
  from seen a join users u on u.id = a.user_id
 order by a.answered_at desc nulls first, a.asked_at;
