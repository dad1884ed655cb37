"""Recovery plans and DNS zones: sections of a file → values, by the rules K1, K4, K6, K9 and P1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from drill.estate import plan_schema as schema
from drill.estate.findings import Findings, meant
from drill.estate.sites import Sites
from drill.estate.yaml import Path_
from drill.model.action import (
    Action,
    DnsUpdate,
    FailoverKind,
    Manual,
    RunInGuest,
    Script,
    Step,
    WaitForPort,
    When,
)
from drill.model.dns import DnsZone
from drill.model.estate import ConsistencyGroup, Item, Plan


@dataclass(slots=True)
class Plans:
    """What was read so far, by name."""

    found: Findings
    sites: Sites
    items: Mapping[str, Item]
    groups: Mapping[str, ConsistencyGroup]
    zones: dict[str, DnsZone] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)

    def read(self, zones: Sequence[schema.DnsZoneSection], plans: Sequence[schema.PlanSection]) -> None:
        """Take all zones and all plans."""
        self.found.unique(("dns_zones",), (one.name for one in zones), "DNS zone")
        for index, zone in enumerate(zones):
            self._zone(zone, ("dns_zones", index))
        self.found.unique(("plans",), (one.name for one in plans), "plan")
        for index, one in enumerate(plans):
            self._plan(one, ("plans", index))

    def _zone(self, one: schema.DnsZoneSection, path: Path_) -> None:
        if one.item is not None:
            self.found.known((*path, "item"), one.item, self.items, "there is no protected item")
        self.zones[one.name] = DnsZone(
            name=one.name,
            server=one.server,
            credential=self.sites.credential((*path, "credential"), one.credential, "tsig-key"),
            algorithm=one.algorithm,
            item=one.item or "",
        )

    def _plan(self, one: schema.PlanSection, path: Path_) -> None:
        group_of = self._members(one, path)
        for place, group in enumerate(one.groups):
            self._needs(group, place, group_of, (*path, "groups", place))
        self._check_cycles(one, path)
        for index, name in enumerate(one.infrastructure):
            self.found.known((*path, "infrastructure", index), name, self.items, "there is no protected item")
        self.found.unique((*path, "infrastructure"), one.infrastructure, "protected item", key=None)
        source, target = self._servers(one, [name for name in group_of if name in self.items], path)
        self.plans[one.name] = Plan(
            name=one.name,
            groups=tuple(tuple(name for _, name in self._named(group, ())) for group in one.groups),
            rpo_objective_seconds=one.objectives.rpo_seconds,
            rto_objective_seconds=one.objectives.rto_seconds,
            source=source,
            target=target,
            actions=self._actions(one, path),
            needs={item: tuple(needed) for group in one.groups for item, needed in group.needs.items()},
            starts_max=one.starts_max,
            infrastructure=tuple(one.infrastructure),
        )

    def _members(self, one: schema.PlanSection, path: Path_) -> dict[str, int]:
        """The group of every item, from 0; an item is in one group of a plan (K1)."""
        group_of: dict[str, int] = {}
        for place, group in enumerate(one.groups):
            if not group.items and not group.consistency_groups:
                self.found.wrong((*path, "groups", place), "a group without machines")
            for at, name in self._named(group, (*path, "groups", place)):
                self.found.known(at, name, self.items, "there is no protected item")
                if name in group_of:
                    where = "two groups" if group_of[name] != place else "a group twice"
                    self.found.wrong(at, f"{name!r} is in {where} of this plan (K1)")
                group_of.setdefault(name, place)
        return group_of

    def _named(self, group: schema.GroupSection, path: Path_) -> list[tuple[Path_, str]]:
        """Every item of a group of the plan with the place that names it; those of its consistency groups are last."""
        named: list[tuple[Path_, str]] = [((*path, "items", n), name) for n, name in enumerate(group.items)]
        for number, name in enumerate(group.consistency_groups):
            at: Path_ = (*path, "consistency_groups", number)
            if name in self.groups:
                named += [(at, item) for item in self.groups[name].items]
            elif path:
                self.found.known(at, name, self.groups, "there is no consistency group")
        return named

    def _needs(self, group: schema.GroupSection, place: int, group_of: Mapping[str, int], path: Path_) -> None:
        for name, needed in group.needs.items():
            at: Path_ = (*path, "needs", name)
            if group_of.get(name) != place:
                self.found.wrong(at, f"this group has no item {name!r}{meant(name, group.items)}")
            self.found.unique(at, needed, "item", key=None)
            for number, other in enumerate(needed):
                if not self.found.known((*at, number), other, group_of, "this plan has no item"):
                    continue
                if group_of[other] != place:
                    self.found.wrong((*at, number), f"{name!r} needs {other!r}, which is not in its group (K1)")

    def _check_cycles(self, one: schema.PlanSection, path: Path_) -> None:
        """No machine waits for itself, however many others are between."""
        needs = {name: needed for group in one.groups for name, needed in group.needs.items()}
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            ring: list[str] = list(reversed(error.args[1]))
            place = next(number for number, group in enumerate(one.groups) if ring[0] in group.needs)
            said = f"{' needs '.join(repr(each) for each in ring)}: none of them could start"
            self.found.wrong((*path, "groups", place, "needs", ring[0]), said)

    def _servers(self, one: schema.PlanSection, names: Sequence[str], path: Path_) -> tuple[str, str]:
        """The servers of all items' pairs (K1, K6), which are those that the plan names, if it does."""
        ends = {name: self._ends(self.items[name]) for name in names}
        given = (one.source, one.target)
        lead = next(iter(ends.values()), ("", ""))
        wanted = (one.source if one.source is not None else lead[0], one.target if one.target is not None else lead[1])
        for key, name in zip(("source", "target"), given, strict=True):
            if name is not None:
                places = [*self.sites.servers, *(self.sites.regions if key == "target" else ())]
                self.found.known((*path, key), name, places, "there is no server")
        for name, has in ends.items():
            if has != wanted:
                said = f"{name!r} goes from {has[0]!r} to {has[1]!r}, this plan from {wanted[0]!r} to {wanted[1]!r}"
                self.found.wrong((*path, "groups"), f"{said} (K1)")
                break
        return wanted

    def _ends(self, item: Item) -> tuple[str, str]:
        clouds, pair = self.sites.clouds, item.pair
        return clouds[pair.source].server, pair.region or clouds[pair.target].server

    def _actions(self, one: schema.PlanSection, path: Path_) -> tuple[Action, ...]:
        """All actions in their order, those after cleanup last."""
        seen: dict[str, str] = {}
        actions: list[Action] = []
        for place, group in enumerate(one.groups):
            at: Path_ = (*path, "groups", place)
            for key, when, sections in (
                ("before", When.BEFORE, group.before),
                ("after", When.AFTER, group.after),
            ):
                for number, section in enumerate(sections):
                    actions.append(self._action(section, when, place + 1, (*at, key, number), seen))
        for number, section in enumerate(one.after_cleanup):
            where: Path_ = (*path, "after_cleanup", number)
            if section.kinds not in (["test"], schema.EVERY_KIND):
                self.found.wrong((*where, "kinds"), "only a test failover has a cleanup")
            actions.append(self._action(section, When.AFTER_CLEANUP, 0, where, seen))
        return tuple(actions)

    def _action(self, section: schema.AnyAction, when: When, group: int, path: Path_, seen: dict[str, str]) -> Action:
        if section.name in seen:
            said = f"action {section.name!r} is named twice in this plan; first at {seen[section.name]}"
            self.found.wrong((*path, "name"), said)
        seen.setdefault(section.name, self.found.document.where((*path, "name")))
        self.found.unique((*path, "kinds"), section.kinds, "kind", key=None)
        kinds = ["test"] if when is When.AFTER_CLEANUP else section.kinds
        return Action(
            name=section.name,
            when=when,
            group=group,
            kinds=tuple(kind for kind in FailoverKind if kind.value in kinds),
            step=self._step(section, path),
        )

    def _step(self, section: schema.AnyAction, path: Path_) -> Step:
        if isinstance(section, schema.ScriptSection):
            return Script(name=section.script, sha256=section.sha256, timeout_seconds=section.timeout_seconds)
        if isinstance(section, schema.ManualSection):
            return Manual(instruction=section.instruction)
        known = self.found.known((*path, "item"), section.item, self.items, "there is no protected item")
        if isinstance(section, schema.WaitForPortSection):
            return WaitForPort(item=section.item, port=section.port, timeout_seconds=section.timeout_seconds)
        if isinstance(section, schema.RunInGuestSection):
            if known and not self.items[section.item].agent:
                self.found.wrong((*path, "item"), f"{section.item!r} has no agent through which to run anything")
            argv = (section.program, *section.arguments)
            return RunInGuest(item=section.item, argv=argv, timeout_seconds=section.timeout_seconds)
        self.found.known((*path, "zone"), section.zone, self.zones, "there is no DNS zone")
        if known and self.items[section.item].nics and section.nic >= len(self.items[section.item].nics):
            count = len(self.items[section.item].nics)
            self.found.wrong((*path, "nic"), f"{section.item!r} has {count} cards, counted from 0")
        return DnsUpdate(
            zone=section.zone,
            record=section.record,
            item=section.item,
            nic=section.nic,
            ttl_seconds=section.ttl_seconds,
        )
