"""From the checked file to what the agent works with: the site, the policy, and the jobs of every worker.

Pure builders; nothing is read and nothing is contacted here. Every address gets one job, from the first entry that
names it; an inventory address outside every target is polled as well, because the operator wrote it down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from agent.capital import capital_terms
from agent.config import Config, MinersSection, PdusSection
from agent.feeds import FEED_INTERVAL_S as FEED_INTERVAL_S
from agent.feeds import market_jobs
from agent.targets import MINER_PORT, SNMP_PORT, join_port, parse_target
from agent.tariffs import series_jobs, tariffs_of
from agent.wire import Assignment, Job
from collectors.catalogue import LIBRARIES, MINER_KINDS
from fleet.capital import CapitalTerms
from fleet.curtailment import Mode, Policy
from fleet.site import EconomicTerms, Machine, Site, overridden, parse_nameplates
from fleet.tariff import FlatTariff, Tariff

WORKER_OF_KIND = dict.fromkeys(MINER_KINDS, "miners") | {kind: kind for kind in (*LIBRARIES, "snmp")}
"""Which worker process looks at which kind; every feed belongs to "feeds"."""

DEADLINE_S = {"miners": 5.0, "pyasic": 20.0, "pyasic_rs": 20.0, "snmp": 8.0, "feeds": 10.0}

Options = dict[str, str | float | bool]


def site_of(config: Config, nameplates_text: str) -> Site:
    """The site of the file, its inventory and its catalogue; `nameplates_text` is the CSV that ships with the agent.

    Errors: fleet.site.SiteError where the catalogue is broken. Without a tariff the price of power is NaN.
    """
    economics = config.economics
    return Site(
        name=config.site.name,
        machines=config.machines,
        nameplates=overridden(parse_nameplates(nameplates_text), config.nameplates),
        terms=EconomicTerms(
            pool_fee=economics.pool_fee,
            reject=economics.reject,
            overhead=economics.overhead,
            hashprice_sigma_ratio=economics.hashprice_sigma,
            hashrate_sigma_ratio=economics.hashrate_sigma,
            power_price_sigma_ratio=economics.power_price_sigma,
            certainty_sigmas=economics.certainty_sigmas,
        ),
        tariff=FlatTariff(_flat_usd_per_kwh(config)),
        expected_pools=config.pools.expected,
    )


def _flat_usd_per_kwh(config: Config) -> float:
    """The price of a site that has one number for it, else NaN: then the loop has the tariff and asks it each time."""
    told = None if config.tariff is None else config.tariff.usd_per_kwh
    return math.nan if told is None else told


def tariffs_in_use(config: Config) -> tuple[Tariff, ...]:
    """The site's own tariff, and those that a machine of the inventory names: an unused one holds nobody up."""
    named = {machine.tariff for machine in config.machines}
    return tariffs_of(config.tariff, {name: each for name, each in config.tariffs.items() if name in named})


def policy_of(config: Config) -> Policy:
    """The operator's rules in the units of `fleet.curtailment`."""
    section = config.policy
    return Policy(
        enabled=section.enabled,
        mode=Mode(section.mode),
        stop_start_cost_usd=section.stop_start_cost_usd,
        stop_factor=section.stop_factor,
        start_factor=section.start_factor,
        min_up_s=section.min_up_s,
        min_down_s=section.min_down_s,
        quorum_ratio=section.quorum_ratio,
        stop_ramp_ratio=section.stop_ramp_ratio,
        stop_ramp_s=section.stop_ramp_s,
        start_ramp_ratio=section.start_ramp_ratio,
        start_ramp_s=section.start_ramp_s,
        hold_release_s=section.hold_release_min * 60.0,
        hold_keep=section.hold == "keep",
        max_step_s=section.max_step_s,
        lease_s=section.lease_s,
    )


def capital_of(config: Config) -> CapitalTerms:
    """What the operator says of the worth of machines and of power; nothing of it reaches a decision."""
    economics = config.economics
    return capital_terms(economics.keep, economics.alternative_usd_per_kwh, config.feeders, tariffs_in_use(config))


def assignments_of(config: Config, site: Site) -> list[Assignment]:
    """The jobs of each worker that has any: "miners", "pyasic", "snmp", "feeds".

    `site` may hold machines that were found after the start; their addresses are polled like inventory addresses.
    """
    jobs: dict[str, list[Job]] = {}
    for job in (*_miner_jobs(config, site.machines), *_pdu_jobs(config)):
        jobs.setdefault(WORKER_OF_KIND[job.kind], []).append(job)
    if feeds := [
        *market_jobs(config.market, config.source.parent),
        *series_jobs(config.tariff, config.tariffs, config.exchange),
    ]:
        jobs["feeds"] = feeds
    return [Assignment(name, tuple(found), config.poll.max_in_flight) for name, found in jobs.items()]


def _miner_jobs(config: Config, machines: Iterable[Machine]) -> Iterable[Job]:
    told = {machine.address: machine.credential for machine in machines if machine.address}
    seen: set[str] = set()
    for section in config.miners:
        for host, port in _endpoints(section.targets, section.port):
            key = join_port(host, port, MINER_PORT)
            if key not in seen:
                seen.add(key)
                yield _miner_job(config, key, host, port, section, told.get(key) or told.get(host))
    default = MinersSection(targets=())
    for address, credential in told.items():
        span = parse_target(address)
        host, port = next(iter(span.hosts())), span.port or default.port
        key = join_port(host, port, MINER_PORT)
        if key not in seen:
            seen.add(key)
            yield _miner_job(config, key, host, port, default, credential)


def _miner_job(config: Config, key: str, host: str, port: int, section: MinersSection, credential: str | None) -> Job:
    """One machine's job; a credential of the inventory goes before the one of its range."""
    options: Options = {}
    if (name := credential or section.credential) is not None:
        chosen = config.credentials[name]
        options = {"user": chosen.user, "password": chosen.password.reveal()}
    return _job(config, key, section.driver, host, port, options)


def _pdu_jobs(config: Config) -> Iterable[Job]:
    seen: set[str] = set()
    for section in config.pdus:
        for host, port in _endpoints(section.targets, section.port):
            key = join_port(host, port, SNMP_PORT)
            if key not in seen:
                seen.add(key)
                yield _job(config, key, "snmp", host, port, pdu_options(config, section))


def pdu_options(config: Config, section: PdusSection) -> Options:
    """What the collector of a PDU needs to know: how it is let in, and the profiles. In clear: for the pipe alone."""
    options: Options = {"profile": section.profile, **section.snmp.options()}
    return options if config.pdu_profiles is None else options | {"profiles": str(config.pdu_profiles)}


def _job(config: Config, key: str, kind: str, host: str, port: int, options: Options) -> Job:
    deadline_s = config.poll.deadline_s or DEADLINE_S[WORKER_OF_KIND[kind]]
    interval_s = config.poll.interval_s
    return Job(key, kind, host, port, interval_s, min(deadline_s, interval_s), options or None)


def _endpoints(targets: Iterable[str], default_port: int) -> Iterable[tuple[str, int]]:
    for span in map(parse_target, targets):
        port = span.port or default_port
        for host in span.hosts():
            yield host, port


def handed_to_library(config: Config, job: Job) -> Job:
    """The same machine as a job for the worker that carries the library, with that worker's deadline."""
    return _job(config, job.key, config.poll.library, job.host, job.port, job.options or {})
