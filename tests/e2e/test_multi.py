"""`/multi` as a person sees it: sub-agents at work, their results, one answer."""

from playwright.async_api import expect

from appliance.core.records import Agent
from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done
from tests.waiting import wait_until

PLAN = """/multi Which store shall we take?
- facts = researcher: Collect facts [[tokens=80 delay=50ms word=fact]]
- critic = reviewer (after facts): Find flaws [[tokens=5 word=flaw]]"""


async def test_sub_agents_are_seen_at_work_and_open_to_what_they_found(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, PLAN)
    facts, critic = page.locator('[data-child="facts"]'), page.locator('[data-child="critic"]')
    await expect(critic).to_contain_text("waits for facts")
    await expect(facts).to_contain_text("works")
    await expect(facts).to_contain_text("agent-")
    await turn_done(page)
    for child in (facts, critic):
        await expect(child).to_have_attribute("data-state", "done")
        await expect(child).to_contain_text("tokens")
    await critic.locator("summary").click()
    await expect(critic.locator(".found")).to_contain_text("flaw1 flaw2")
    assert (await page.locator(".turn > .assistant .rich").inner_text()).strip()
    await page.reload()
    await expect(page.locator('[data-child="critic"] .found')).to_have_text("flaw1 flaw2 flaw3 flaw4 flaw5")


async def test_a_plan_that_cannot_be_is_named_and_stays_in_the_box(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", "/multi Go\n- wizard: magic")
    await page.press("#text", "Enter")
    await expect(page.locator("#banner")).to_contain_text("there is no role 'wizard'")
    assert await page.locator("#text").input_value() == "/multi Go\n- wizard: magic"


async def test_killing_the_primary_in_the_middle_changes_nothing_but_the_timeline(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, PLAN)
    await expect(page.locator('[data-child="facts"]')).to_contain_text("works")
    view = await cluster.view()
    lost = next(it for it in view.agents if it.id == view.primary_id)
    await cluster.kill(lost.id)
    await turn_done(page, within_s=60)
    await expect(page.locator('[data-child="critic"]')).to_have_attribute("data-state", "done")
    await expect(page.locator(".losses")).to_contain_text("took over")
    cluster.start_agent(lost.id)

    async def back() -> Agent | None:
        agent = (await cluster.view()).agent(lost.id)
        return agent if agent and agent.boot != lost.boot and agent.status == "active" else None

    await wait_until(back, of="the agent's return")


async def test_what_a_plan_says_of_failures_is_seen_while_it_works_and_stays(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(
        page,
        cluster,
        "/multi Policies\nlimits: tokens=5000\n- hard = builder (or retry): x [[status=400 fail_times=3 tokens=2]]\n"
        "- key = researcher (after hard; or stop): y [[status=400]]\n- never = reviewer (after key): z",
    )
    hard, key = page.locator('[data-child="hard"]'), page.locator('[data-child="key"]')
    await expect(page.locator(".team-note")).to_have_text("limits: 5,000 tokens, 480 s")
    await expect(hard.locator(".policy")).to_have_text("or retry")
    await expect(key.locator(".policy")).to_have_text("or stop")
    alert = page.locator('.turn[data-state="failed"] [role="alert"]')
    await expect(alert).to_contain_text("key failed, and the plan stops without it", timeout=60_000)
    for _ in range(2):
        await expect(hard.locator(".try")).to_have_text("try 2")
        await expect(hard).to_have_attribute("data-state", "done")
        await expect(key.locator(".doing")).to_have_text("failed")
        await expect(page.locator('[data-child="never"] .doing')).to_have_text("not begun")
        await hard.locator("summary").click()
        await expect(hard.locator(".earlier")).to_contain_text("Try 1 failed")
        await page.reload()
