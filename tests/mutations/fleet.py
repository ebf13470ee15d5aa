"""Guards of the fleet: one row of wishes, requests that count once, nobody drained who must stay."""

from tests.mutations.guard import Guard

_MIGRATION = "appliance/core/sql/migrations/0004_pre_fleet.sql"
_PLAN, _LOOP, _OPERATIONS = "control_plane/plan.py", "control_plane/reconcile.py", "control_plane/operations.py"
_ROW = "tests/integration/test_desired_fleet.py::test_"
_NEXT = "tests/unit/test_fleet_plan.py::test_"
_DONE = "tests/integration/test_operations.py::test_"

FLEET = [
    Guard("a wish is decided on the row as it is", _MIGRATION,
          "  if v_old.version <> p_version then return null; end if;\n", "",
          f"{_ROW}two_operators_at_once_each_decide_on_what_the_other_did"),
    Guard("a repeated wish is answered with the first result", _MIGRATION,
          "    return v_asked.answer;\n", "    null;\n",
          f"{_ROW}a_repeated_request_is_answered_with_the_first_result"),
    Guard("a key belongs to one wish", _MIGRATION,
          "(v_asked.action, v_asked.subject) is distinct from (p_action, p_subject)", "false",
          f"{_ROW}a_key_that_belongs_to_another_request_is_refused"),
    Guard("the last that answers is not drained", _PLAN, "    if not seen.staying:\n", "    if False:\n",
          f"{_NEXT}the_last_that_answers_waits_for_another"),
    Guard("a primary is switched over before it drains", _PLAN,
          "    if not _is_primary(slot, seen):\n", "    if True:\n",
          f"{_NEXT}the_primary_hands_its_seat_to_the_least_loaded_who_stays_before_it_drains"),
    Guard("nobody is drained while Redis is away", _PLAN, "    if seen.view is not None and agent is None:\n",
          "    if agent is None:\n", f"{_NEXT}nobody_is_drained_while_redis_is_away"),
    Guard("an order ends with its agent", _LOOP,
          "                await self._close_order(step, seen)\n                await self._fleet.start",
          "                await self._fleet.start",
          f"{_DONE}an_order_whose_agent_vanished_does_not_drain_its_successor"),
    Guard("game day is off", _OPERATIONS, "        if not self._settings.game_day:\n", "        if False:\n",
          f"{_DONE}game_day_is_off_until_it_is_turned_on"),
    Guard("the last agent is not stopped", _OPERATIONS,
          "        async def check() -> None:\n            check_drain(await self._registry.view(), agent)\n",
          "        async def check() -> None:\n            return\n",
          f"{_DONE}the_last_agent_is_neither_drained_nor_stopped"),
    Guard("the row refuses to let the last one rest", "appliance/core/order_rules.py",
          "    if not _active(view) & (set(map(agent_id, now.working)) - {agent}):\n", "    if False:\n",
          "tests/integration/test_refused_operations.py::test_the_row_refuses_the_last_one_whatever_was_seen_before"),
    Guard("what is refused is audited once", "control_plane/steering.py", " or error.audited:\n", ":\n",
          "tests/integration/test_control_forms.py::test_game_day_says_how_to_turn_it_on_and_refuses_until_then"),
    Guard("who is not buried is not forgotten", "agent_image/keeper/tidy.py",
          'if not await self._postgres.rows("living_boots", agent=agent) and await', "if await",
          "tests/integration/test_tidy.py::test_who_lives_stays_who_is_silent_waits_for_burial_and_is_then_forgotten"),
    Guard("who lives is not forgotten", "appliance/core/lua/forget.lua",
          "  if redis.call('EXISTS', args[2] .. boot) == 1 then return 0 end\n", "",
          "tests/integration/test_tidy.py::test_who_lives_stays_who_is_silent_waits_for_burial_and_is_then_forgotten"),
    Guard("the broker's socket is its user's alone", "control_plane/broker/main.py", "os.umask(0o177)", "os.umask(0)",
          "tests/integration/test_broker.py::"
          "test_nobody_but_its_user_may_use_the_socket_and_a_left_one_is_replaced"),
    Guard("a slot is a number in a range", "control_plane/broker/api.py", "ge=1, le=99_999", "ge=-9",
          "tests/integration/test_broker.py::test_everything_else_is_refused_before_it_reaches_the_fleet"),
    Guard("a role may do what it may", "appliance/web/roles.py",
          "if ROLES.index(user.role) < ROLES.index(role):", "if False:",
          "tests/integration/test_scaling.py::test_a_role_that_may_not_is_told_what_it_needs"),
]  # fmt: skip
