"""Up, down and everything between, each twice without harm."""

import os
import re
import signal
from pathlib import Path

import httpx2

from appliance.cli.embedded import exists
from appliance.cli.status import Status
from tests.appliance.commands import Appliance
from tests.waiting import wait_until


async def test_up_ends_with_an_answered_question_and_a_link_that_works_once(appliance: Appliance) -> None:
    said = await appliance.nexus("up")
    assert 'asked "Say hello.": answered by agent-' in said
    found = re.search(r"Open +(\S+)", said)
    assert found
    async with httpx2.AsyncClient() as http:
        codes = [(await http.get(found[1])).status_code for _ in range(2)]
    assert codes == [303, 401]


async def test_status_says_who_is_there_in_the_documented_shape(appliance: Appliance) -> None:
    import msgspec

    found = msgspec.convert(await appliance.status(), Status)
    assert found.healthy, found.problems
    assert [agent.id for agent in found.agents] == ["agent-1", "agent-2", "agent-3"]
    assert found.primary in {agent.id for agent in found.agents}
    assert found.epoch >= 1
    assert {"postgres", "redis", "model", "embedder", "gateway", "control-plane"} <= {it.name for it in found.services}
    schema = await appliance.nexus("status", "--schema")
    assert all(field in schema for field in Status.__struct_fields__)


async def test_a_question_from_the_terminal_streams_an_answer(appliance: Appliance) -> None:
    said = await appliance.nexus("chat", "Name three primary colours.")
    assert "bundled/SmolLM2-135M" in said
    assert re.search(r"agent-\d · .* · \d+ in, \d+ out · first token \d+ ms", said)


async def test_an_empty_question_is_refused_with_the_right_command(appliance: Appliance) -> None:
    assert "make chat MSG=" in await appliance.nexus("chat", " ", code=1)


async def test_the_failover_demo_kills_the_primary_and_nothing_is_lost(appliance: Appliance) -> None:
    said = await appliance.nexus("failover-demo")
    killed = re.search(r"SIGKILL to keeper and runner of (agent-\d), the primary", said)
    assert killed
    assert "took over" in said
    assert re.search(rf"epoch \d+ .* {killed[1]} → agent-\d", said)
    assert re.search(r"promote +[\d.]+ ms  \S", said)
    assert "events doubled 0, text equal to the committed message: yes" in said
    assert "is back as" in said


async def test_links_and_logs_can_be_had_at_any_time(appliance: Appliance) -> None:
    assert "/login/" in await appliance.nexus("link")
    assert "keeper" in await appliance.nexus("logs", "agent-1")
    assert "agent-1" in await appliance.nexus("logs", "-n", "3")
    assert "there are: agent-1" in await appliance.nexus("logs", "nobody", code=1)


async def test_no_secret_is_in_any_log_or_environment(appliance: Appliance) -> None:
    secrets = [file.read_text().strip() for file in (appliance.home / "secrets").iterdir()]
    texts = [file.read_text(errors="replace") for file in (appliance.home / "logs").iterdir()]
    for service in (await appliance.status())["services"]:
        process = Path(f"/proc/{service['pid']}")
        texts += [(process / name).read_text(errors="replace") for name in ("environ", "cmdline")]
    assert secrets
    assert not any(secret in text for secret in secrets for text in texts)


async def test_the_chat_goes_on_when_the_process_manager_dies_and_up_takes_over(appliance: Appliance) -> None:
    os.kill(await appliance.pid("supervisor"), signal.SIGKILL)
    found = await appliance.status(code=1)
    assert "process manager is dead" in found["problems"][0]
    assert "agent-" in await appliance.nexus("chat", "Are you there?")
    before = {it["pid"] for it in found["services"] if it["pid"]}
    await appliance.nexus("up")
    assert (await appliance.status())["healthy"]
    assert not any(exists(pid) for pid in before), "what ran without a manager was ended, exactly"


async def test_a_second_up_stops_nothing_and_keeps_the_address(appliance: Appliance) -> None:
    before = await appliance.status()
    await appliance.nexus("up")
    after = await appliance.status()
    assert after["url"] == before["url"]
    assert [it["pid"] for it in after["services"]] == [it["pid"] for it in before["services"]]


async def test_a_killed_program_is_started_again_by_itself(appliance: Appliance) -> None:
    for service in ("redis", "gateway", "model", "embedder"):
        os.kill(await appliance.pid(service), signal.SIGKILL)

        async def healthy() -> bool:
            done = appliance.start("status", "--json")
            return done.returncode == 0

        await wait_until(healthy, of=f"a healthy appliance after {service} was killed")
    assert "agent-" in await appliance.nexus("chat", "Still there?")


async def test_down_leaves_no_process_and_no_port_and_may_be_repeated(appliance: Appliance) -> None:
    found = await appliance.status()
    assert "Stopped" in await appliance.nexus("down")
    assert [it for it in found["services"] if exists(it["pid"])] == []
    assert [it for it in found["agents"] if exists(it["keeper_pid"]) or exists(it["runner_pid"])] == []
    assert "Nothing was running." in await appliance.nexus("down")
    assert "Nothing runs" in (await appliance.status(code=1))["problems"][0]
    said = await appliance.nexus("up")
    assert found["url"] in said, "the address stays"
