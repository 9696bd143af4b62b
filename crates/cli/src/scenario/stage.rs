//! Where a script is played: two Regions, a ledger, and a transcript.

use super::script;
use super::tray::Tray;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use twinlake_core::event::Listener;
use twinlake_core::grant::Terms;
use twinlake_core::ledger::Epoch;
use twinlake_core::{
    Alert, AlertKind, Fault, FaultKind, OwnRoles, Policy, Principal, Scope, Subject, render,
};
use twinlake_engine::alerts;
use twinlake_engine::batch::{self, Received};
use twinlake_engine::{Clock as _, Context, MemoryLedger, Outcome};
use twinlake_sim::{ApiError, Quirk, Sim, SimRegion, Trouble, World, run_until_killed};

const ACCOUNT: &str = "111122223333";
const PRIMARY: &str = "us-east-1";
const SECONDARY: &str = "ap-south-1";
const ROLE: &str = "arn:aws:iam::111122223333:role/twinlake";
const ADMIN: &str = "arn:aws:iam::111122223333:role/Admin";

const SIDES: &str = r#"
[first]
region = "us-east-1"
account = "111122223333"
[second]
region = "ap-south-1"
account = "111122223333"
[[location]]
first = "s3://lake-us"
second = "s3://lake-in"
"#;

pub(super) struct Stage {
    sim: Sim,
    primary: SimRegion,
    secondary: SimRegion,
    ledger: MemoryLedger,
    keys: BTreeMap<String, String>,
    reader: Principal,
    ours: OwnRoles,
    tray: Tray,
    transcript: String,
}

type Played = Result<(), String>;

impl Stage {
    pub(super) fn new() -> Self {
        let mut world = World::new(ACCOUNT, &[PRIMARY, SECONDARY]);
        for region in [PRIMARY, SECONDARY] {
            world.add_administrator(region, ROLE);
            world.add_administrator(region, ADMIN);
        }
        world.set_reader(PRIMARY, Some(ROLE));
        let sim = Sim::new(world);
        Self {
            primary: sim.region(PRIMARY, ROLE),
            secondary: sim.region(SECONDARY, ROLE),
            sim,
            ledger: MemoryLedger::default(),
            keys: BTreeMap::new(),
            reader: Principal(ROLE.to_owned()),
            ours: OwnRoles::new([ROLE.to_owned()]),
            tray: Tray::default(),
            transcript: String::new(),
        }
    }

    pub(super) fn into_transcript(self) -> String {
        self.transcript
    }

    fn say(&mut self, line: &str) {
        for line in line.lines() {
            let _ = writeln!(self.transcript, "  {}", render::escape(line).trim_end());
        }
    }

    pub(super) fn perform(&mut self, line: &str) -> Played {
        let _ = writeln!(self.transcript, "> {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["policy", key, "=", ..] => {
                let value = line.split_once('=').map_or("", |(_, value)| value.trim());
                self.keys.insert((*key).to_owned(), value.to_owned());
                self.policy().map(drop)
            }
            ["quirk", name, switch] => self.quirk(name, *switch == "on"),
            ["old-lists", region, switch] => {
                self.sim.world().set_old_lists(region, *switch == "on");
                Ok(())
            }
            ["reader", region, switch] => {
                let reader = (*switch == "on").then_some(ROLE);
                self.sim.world().set_reader(region, reader);
                Ok(())
            }
            ["wait", secs] => {
                let secs = secs
                    .parse()
                    .map_err(|_| "these are no seconds".to_owned())?;
                self.sim.world().pass_secs(secs);
                Ok(())
            }
            ["open-defaults", region] => {
                self.sim.world().open_defaults(region);
                Ok(())
            }
            ["take-rights", region] => {
                self.sim.world().take_rights(region, ROLE);
                Ok(())
            }
            ["fail", region, call, code] => self.fail(region, call, code, "x1"),
            ["fail", region, call, code, times] => self.fail(region, call, code, times),
            ["plan", names @ ..] => self.plan(names),
            ["resync"] => self.resync(),
            ["deliver", how @ ..] => self.deliver(how.first().copied()),
            ["grants", region] => self.grants(region),
            ["tables", region] => self.tables(region),
            ["ledger"] => self.print_ledger(),
            ["calls"] => self.calls(),
            ["alerts"] => self.alerts(),
            [PRIMARY | SECONDARY, rest @ ..] => self.call(line, rest),
            _ => Err("these words are not understood".to_owned()),
        }
    }

    fn policy(&self) -> Result<Policy, String> {
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|(k, v)| format!("{k} = {v}"))
            .collect();
        let text = format!("{}\n{SIDES}", keys.join("\n"));
        Policy::parse(&text).map_err(|e| e.to_string())
    }

    fn quirk(&mut self, name: &str, on: bool) -> Played {
        let quirk = Quirk::named(name).ok_or_else(|| format!("no such quirk: {name}"))?;
        self.sim.world().set_quirk(quirk, on);
        Ok(())
    }

    fn fail(&mut self, region: &str, call: &str, code: &str, times: &str) -> Played {
        let times = times.trim_start_matches('x').parse();
        let kind = match code {
            "EntityNotFoundException" => FaultKind::Absent,
            "AccessDeniedException" => FaultKind::Denied,
            "ThrottlingException" | "ConcurrentModificationException" => FaultKind::Busy,
            "InternalServiceException" => FaultKind::Unavailable,
            _ => FaultKind::Invalid,
        };
        let error = ApiError::new(kind, code, "as ordered");
        self.sim.world().order(Trouble {
            times: times.map_err(|_| "xN is no number".to_owned())?,
            ..Trouble::once(region, call, error)
        });
        Ok(())
    }

    fn call(&mut self, line: &str, words: &[&str]) -> Played {
        let region = line
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned();
        for (name, request) in script::calls(words, line)? {
            let answer = self.sim.world().call(&region, ADMIN, &name, &request);
            if let Err(error) = answer {
                self.say(&format!("{}: {}", error.code, error.message));
            }
        }
        Ok(())
    }

    fn with<T>(
        &self,
        act: impl FnOnce(
            &Context<'_, SimRegion, SimRegion, MemoryLedger, Sim>,
        ) -> Option<Result<T, Fault>>,
    ) -> Result<T, String> {
        let policy = self.policy()?;
        let context = Context {
            primary: &self.primary,
            secondary: &self.secondary,
            ledger: &self.ledger,
            clock: &self.sim,
            policy: &policy,
            epoch: Epoch(0),
            reader: &self.reader,
            ours: &self.ours,
            parallel: 1,
            brake_released: false,
            writes_settings: true,
            stop_at: None,
        };
        match act(&context) {
            Some(Ok(value)) => Ok(value),
            Some(Err(fault)) => Err(fault.to_string()),
            None => Err("the handler was killed".to_owned()),
        }
    }

    fn plan(&mut self, names: &[&str]) -> Played {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let scope = match names.is_empty() {
            true => Scope::catalog(),
            false => crate::connect::scope(&names).map_err(|e| e.to_string())?,
        };
        let (plan, judged) = self.with(|context| {
            let preview = twinlake_engine::resync::preview(context, &scope);
            run_until_killed(&self.sim, preview)
        })?;
        self.say(&render::plan(&plan));
        for veto in judged.err().unwrap_or_default() {
            self.say(&format!("VETO {veto}"));
        }
        Ok(())
    }

    fn resync(&mut self) -> Played {
        let _ = self.sim.world().take_events();
        let began = self.sim.now();
        let report = self.with(|context| {
            let outbox = None::<&Tray>;
            let whole = twinlake_engine::resync::resync(context, None, outbox, &());
            run_until_killed(&self.sim, whole)
        })?;
        let now = self.sim.now();
        let found = alerts::of_report(&report, SECONDARY, now);
        let looked = alerts::Looked::of(&report.outcome, began);
        self.with(|context| {
            let told = (&found[..], &looked);
            let conclude = alerts::conclude(&self.tray, context.ledger, told, now);
            run_until_killed(&self.sim, conclude)
        })?;
        // What is kept for the digest is shown with the rest.
        let gathered = |alert: &Alert| alert.kind == AlertKind::Unsupported;
        let gathered = found.into_iter().filter(gathered);
        self.tray.alerts.borrow_mut().extend(gathered);
        let verified = match report.verified_at {
            Some(_) => "verified",
            None => "not verified",
        };
        self.say_outcome(&report.outcome);
        self.say(verified);
        Ok(())
    }

    fn say_outcome(&mut self, outcome: &Outcome) {
        for step in &outcome.applied {
            self.say(&format!("did {}", render::step(step)));
        }
        for veto in &outcome.vetoes {
            self.say(&format!("VETO {veto}"));
        }
        for (step, fault) in &outcome.failed {
            self.say(&format!("FAILED {}: {fault}", render::step(step)));
        }
        if let Some((_, reason)) = &outcome.waiting {
            self.say(&format!("waits: {reason}"));
        }
        if outcome.applied.is_empty() {
            self.say("did nothing");
        }
    }

    fn deliver(&mut self, how: Option<&str>) -> Played {
        let events = self.sim.world().take_events();
        let mut bodies: Vec<Vec<u8>> = events
            .into_iter()
            .filter(|emitted| emitted.region == PRIMARY)
            .map(|emitted| emitted.event.to_string().into_bytes())
            .collect();
        match how {
            None => {}
            Some("lost") => bodies.clear(),
            Some("twice") => bodies.extend(bodies.clone()),
            Some("reversed") => bodies.reverse(),
            Some(other) => return Err(format!("delivered how? {other}")),
        }
        for (at, body) in bodies.into_iter().enumerate() {
            let received = [Received {
                id: at.to_string(),
                body,
            }];
            let listener = Listener {
                region: PRIMARY.to_owned(),
                account: ACCOUNT.to_owned(),
                ours: self.ours.clone(),
                terms: Terms::of_primary(&self.policy()?, Epoch(0)),
                now: self.sim.now(),
            };
            let late = self.sim.now().plus_secs(1_000_000);
            let answer = self.with(|context| {
                let ports = (&self.tray, &self.tray);
                let run = batch::run(context, ports, &listener, &received, late);
                run_until_killed(&self.sim, run).map(Ok)
            })?;
            for (_, reason) in &answer.dropped {
                self.say(&format!("dropped: {reason}"));
            }
            self.say(&format!("event {at}: {} steps", answer.applied()));
        }
        Ok(())
    }

    fn grants(&mut self, region: &str) -> Played {
        let entries = self.sim.world().listed_grants(region);
        let policy = self.policy()?;
        let terms = match region {
            PRIMARY => Terms::of_primary(&policy, Epoch(0)),
            _ => Terms::of_secondary(&policy, Epoch(0)),
        };
        let (grants, unsupported) = twinlake_core::grant::normalize(&entries, &terms);
        for (atom, grantable) in grants {
            if atom.principal.0 != ROLE && atom.principal.0 != ADMIN {
                let option = if grantable { " with grant option" } else { "" };
                self.say(&format!("{atom}{option}"));
            }
        }
        for (kind, count) in unsupported {
            self.say(&format!("{count} x {kind}"));
        }
        Ok(())
    }

    fn tables(&mut self, region: &str) -> Played {
        let world = self.sim.world();
        let mut lines = Vec::new();
        let partitions = world.raw_partitions(region);
        for (id, seen) in world.raw_tables(region) {
            let columns: Vec<&str> = seen.object.columns().map(|c| c.name.as_str()).collect();
            let descriptor = seen.object.storage_descriptor.as_ref();
            let place = descriptor.and_then(|sd| sd.location.as_deref());
            let count = partitions.get(&id).map_or(0, BTreeMap::len);
            lines.push(format!(
                "{id} ({}) at {}, {count} partitions",
                columns.join(", "),
                place.unwrap_or("no place")
            ));
        }
        drop(world);
        lines.iter().for_each(|line| self.say(line));
        Ok(())
    }

    fn print_ledger(&mut self) -> Played {
        for (subject, row) in self.ledger.book().rows {
            // What is of the lake as a whole is told where it is not as it should be.
            if matches!(subject, Subject::Lake(_)) && row.reason.is_none() {
                continue;
            }
            let paired = match row.pairing {
                Some(_) => "paired",
                None => "unpaired",
            };
            let reason = row
                .reason
                .map_or_else(String::new, |reason| format!(": {reason}"));
            self.say(&format!("{subject}, {paired}, {}{reason}", row.state));
        }
        Ok(())
    }

    fn calls(&mut self) -> Played {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for call in self.sim.world().take_calls() {
            *counts.entry((call.region, call.name)).or_default() += 1;
        }
        for ((region, call), count) in counts {
            self.say(&format!("{region} {call} x{count}"));
        }
        Ok(())
    }

    fn alerts(&mut self) -> Played {
        let told = self.tray.alerts.take();
        for alert in told {
            self.say(&alert.subject_line());
            for sample in &alert.samples {
                self.say(&format!("  {sample}"));
            }
        }
        Ok(())
    }
}
