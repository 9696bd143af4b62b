//! Runs the lines of a script in two simulated Regions with a ledger, and writes a transcript.

use super::parser;
use super::recorder::ScenarioRecorder;
use crate::local_table_files::CommandTableFiles;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::catalog::FilterColumns;
use twinlake_core::event::EventContext;
use twinlake_core::grant::{GrantMapping, ListedResource};
use twinlake_core::scope::subject_of_opt_in;
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{
    Alert, AlertKind, CallError, CallErrorKind, Name, NextCommands, OwnRoles, PlanSummary, Policy,
    Principal, Scope, Subject, render,
};
use twinlake_engine::alerts;
use twinlake_engine::event_batch::{self, QueueMessage};
use twinlake_engine::resync::ResyncDepth;
use twinlake_engine::{Clock as _, Context, InMemoryLedger, ReconcileOutcome};
use twinlake_sim::{
    ApiError, InjectedFault, Quirk, QuirkAnswers, Sim, SimEnvironment, SimRegion, SimState,
    run_until_killed,
};

const ACCOUNT: &str = "111122223333";
const REGION_A: &str = "us-east-1";
const REGION_B: &str = "ap-south-1";
const ROLE: &str = "arn:aws:iam::111122223333:role/twinlake";
const ADMIN: &str = "arn:aws:iam::111122223333:role/Admin";

const SITES: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
[[location]]
a = "s3://lake-us"
b = "s3://lake-in"
"#;

/// Policy keys under their former names, and their names since.
const FORMER_KEYS: [(&str, &str); 7] = [
    ("brake", "deletion-limit"),
    ("filters", "data-cells-filter-scan"),
    ("ignore", "ignored-principals"),
    ("settings", "data-lake-settings"),
    ("statistics", "column-statistics"),
    ("tags", "glue-tags"),
    // Belongs to the operation document, which scenarios do not read.
    ("lag", ""),
];

pub(super) struct ScenarioRunner {
    sim: Sim,
    epoch: Epoch,
    primary_region: &'static str,
    standby_region: &'static str,
    primary: SimRegion,
    standby: SimRegion,
    ledger: InMemoryLedger,
    keys: BTreeMap<String, String>,
    reader: Principal,
    own_roles: OwnRoles,
    recorder: ScenarioRecorder,
    transcript: String,
}

/// The result of one line of a script; an error ends the script.
type LineResult = Result<(), String>;

impl ScenarioRunner {
    pub(super) fn new(primary: SiteId, answers: &QuirkAnswers) -> Self {
        let mut state = SimState::new(ACCOUNT, &[REGION_A, REGION_B]);
        state.apply_answers(answers);
        let (primary_region, standby_region) = match primary {
            SiteId::A => (REGION_A, REGION_B),
            SiteId::B => (REGION_B, REGION_A),
        };
        for region in [REGION_A, REGION_B] {
            state.add_data_lake_admin(region, ROLE);
            state.add_data_lake_admin(region, ADMIN);
        }
        state.set_reader_role(primary_region, Some(ROLE));
        let sim = Sim::new(state);
        Self {
            epoch: match primary {
                SiteId::A => Epoch::INITIAL,
                SiteId::B => Epoch::new(1, primary),
            },
            primary_region,
            standby_region,
            primary: sim.region(primary_region, ROLE),
            standby: sim.region(standby_region, ROLE),
            sim,
            ledger: InMemoryLedger::default(),
            keys: BTreeMap::new(),
            reader: Principal(ROLE.to_owned()),
            own_roles: OwnRoles::new([ROLE.to_owned()]),
            recorder: ScenarioRecorder::default(),
            transcript: String::new(),
        }
    }

    pub(super) fn into_transcript(self) -> String {
        self.transcript
    }

    fn print(&mut self, line: &str) {
        for line in line.lines() {
            let _ = writeln!(self.transcript, "  {}", render::escape(line).trim_end());
        }
    }

    pub(super) fn execute(&mut self, line: &str) -> LineResult {
        let _ = writeln!(self.transcript, "> {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["policy", key, "=", ..] => {
                let value = line.split_once('=').map_or("", |(_, value)| value.trim());
                let (key, value) = renamed(key, value);
                if !key.is_empty() {
                    self.keys.insert(key.to_owned(), value);
                }
                self.policy().map(drop)
            }
            ["quirk", name, switch] => self.set_quirk(name, *switch == "on"),
            ["stale-listings" | "old-lists", region, switch] => {
                self.sim
                    .state()
                    .set_stale_grant_listings(region, *switch == "on");
                Ok(())
            }
            ["own-access" | "lake-access" | "reader", region, switch] => {
                let role = (*switch == "on").then_some(ROLE);
                self.sim.state().set_reader_role(region, role);
                Ok(())
            }
            ["wait", secs] => {
                let secs = secs
                    .parse()
                    .map_err(|_| "SECONDS is not a number".to_owned())?;
                self.sim.state().advance_secs(secs);
                Ok(())
            }
            ["open-defaults", region] => {
                self.sim.state().set_iam_allowed_principals_defaults(region);
                Ok(())
            }
            ["remove-access" | "take-rights", region] => {
                self.sim.state().remove_read_access(region, ROLE);
                Ok(())
            }
            ["fail", region, call, code] => self.inject_fault(region, call, code, "x1"),
            ["fail", region, call, code, times] => self.inject_fault(region, call, code, times),
            ["plan", names @ ..] => self.preview_plan(names),
            ["resync"] => self.run_resync(),
            ["deliver", mode @ ..] => self.deliver_events(mode.first().copied()),
            ["grants", region] => self.print_grants(region),
            ["tables", region] => self.print_tables(region),
            ["filters", region] => self.print_filters(region),
            ["opt-ins", region] => self.print_opt_ins(region),
            ["ledger"] => self.print_ledger(),
            ["calls"] => self.print_calls(),
            ["alerts"] => self.print_alerts(),
            [region @ (REGION_A | REGION_B), words @ ..] => self.call_as_admin(region, words, line),
            _ => Err("unknown command".to_owned()),
        }
    }

    /// The bucket of the tables that a script creates: the primary's, whichever site leads.
    fn primary_bucket(&self) -> &'static str {
        match self.epoch.primary() {
            SiteId::A => "s3://lake-us",
            SiteId::B => "s3://lake-in",
        }
    }

    fn policy(&self) -> Result<Policy, String> {
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|(k, v)| format!("{k} = {v}"))
            .collect();
        let text = format!("{}\n{SITES}", keys.join("\n"));
        Policy::parse(&text).map_err(|e| e.to_string())
    }

    fn set_quirk(&mut self, name: &str, on: bool) -> LineResult {
        let quirk =
            Quirk::from_scenario_name(name).ok_or_else(|| format!("unknown quirk {name}"))?;
        self.sim.state().set_quirk(quirk, on);
        Ok(())
    }

    fn inject_fault(&mut self, region: &str, call: &str, code: &str, times: &str) -> LineResult {
        let times = times.trim_start_matches('x').parse();
        let kind = match code {
            "EntityNotFoundException" => CallErrorKind::NotFound,
            "AccessDeniedException" => CallErrorKind::Denied,
            "ThrottlingException" | "ConcurrentModificationException" => CallErrorKind::Contended,
            "InternalServiceException" => CallErrorKind::Unavailable,
            _ => CallErrorKind::Invalid,
        };
        let error = ApiError::new(kind, code, "injected by the script");
        self.sim.state().inject_fault(InjectedFault {
            times: times.map_err(|_| "xN is not a number".to_owned())?,
            ..InjectedFault::once(region, call, error)
        });
        Ok(())
    }

    fn call_as_admin(&mut self, region: &str, words: &[&str], line: &str) -> LineResult {
        let (name, request) = parser::api_call(words, line, self.primary_bucket())?;
        let result = self.sim.state().call(region, ADMIN, &name, &request);
        if let Err(error) = result {
            self.print(&format!("{}: {}", error.code, error.message));
        }
        Ok(())
    }

    fn with_context<T>(
        &self,
        run: impl FnOnce(&Context<'_, SimEnvironment>) -> Option<Result<T, CallError>>,
    ) -> Result<T, String> {
        let policy = self.policy()?;
        let context = Context {
            primary: &self.primary,
            standby: &self.standby,
            ledger: &self.ledger,
            clock: &self.sim,
            policy: &policy,
            epoch: self.epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: 1,
            approved_deletions: &ApprovedDeletions::None,
            may_write_settings: true,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        };
        match run(&context) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the handler was killed".to_owned()),
        }
    }

    fn preview_plan(&mut self, names: &[&str]) -> LineResult {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let scope = match names.is_empty() {
            true => Scope::catalog(),
            false => crate::connect::scope(&names).map_err(|e| e.to_string())?,
        };
        let (plan, rejections) = self.with_context(|context| {
            let preview = twinlake_engine::resync::preview(context, &scope);
            run_until_killed(&self.sim, preview)
        })?;
        let selection = format!("--region {}", self.standby_region);
        let next = NextCommands::new(&selection, None, self.standby_region);
        let summary = PlanSummary::new(&plan, &rejections, &next);
        self.print(&(render::steps(&plan.steps) + &summary.text()));
        Ok(())
    }

    fn run_resync(&mut self) -> LineResult {
        let _ = self.sim.state().take_events();
        let started_at = self.sim.now();
        let report = self.with_context(|context| {
            let retry_queue = None::<&ScenarioRecorder>;
            let resync =
                twinlake_engine::resync::resync(context, ResyncDepth::Full, None, retry_queue, &());
            run_until_killed(&self.sim, resync)
        })?;
        let now = self.sim.now();
        let found = alerts::from_resync_report(&report, self.standby_region, now);
        let checked = alerts::CheckedSubjects::from_resync_report(&report, started_at);
        self.with_context(|context| {
            let found = (&found[..], &checked);
            let publish = alerts::publish_and_resolve(&self.recorder, context.ledger, found, now);
            run_until_killed(&self.sim, publish)
        })?;
        // Alerts that are published only in the digest are part of the transcript, too.
        let is_digest_only = |alert: &Alert| alert.kind == AlertKind::NotReplicated;
        let digest_only = found.into_iter().filter(is_digest_only);
        self.recorder.alerts.borrow_mut().extend(digest_only);
        let verified = match report.verified_at {
            Some(_) => "verified",
            None => "not verified",
        };
        self.print_outcome(&report.outcome);
        self.print(verified);
        Ok(())
    }

    fn print_outcome(&mut self, outcome: &ReconcileOutcome) {
        for step in &outcome.applied {
            self.print(&format!("applied {}", render::step(step)));
        }
        for rejection in &outcome.rejections {
            self.print(&format!("REJECTED {rejection}"));
        }
        for (step, error) in &outcome.failed {
            self.print(&format!("FAILED {}: {error}", render::step(step)));
        }
        if let Some((_, reason)) = &outcome.waiting {
            self.print(&format!("deferred: {reason}"));
        }
        if outcome.applied.is_empty() {
            self.print("applied nothing");
        }
    }

    fn deliver_events(&mut self, mode: Option<&str>) -> LineResult {
        let primary_region = self.primary_region;
        let events = self.sim.state().take_events();
        let mut bodies: Vec<Vec<u8>> = events
            .into_iter()
            .filter(|emitted| emitted.region == primary_region)
            .map(|emitted| emitted.event.to_string().into_bytes())
            .collect();
        match mode {
            None => {}
            Some("lost") => bodies.clear(),
            Some("twice") => bodies.extend(bodies.clone()),
            Some("reversed") => bodies.reverse(),
            Some(other) => return Err(format!("unknown delivery mode {other}")),
        }
        for (index, body) in bodies.into_iter().enumerate() {
            let messages = [QueueMessage {
                id: index.to_string(),
                body,
                is_redelivered: false,
            }];
            let event_context = EventContext {
                region: primary_region.to_owned(),
                account: ACCOUNT.to_owned(),
                own_roles: self.own_roles.clone(),
                grant_mapping: GrantMapping::of_primary(&self.policy()?, self.epoch),
                now: self.sim.now(),
            };
            let deadline = self.sim.now().plus_secs(1_000_000);
            let outcome = self.with_context(|context| {
                let ports = (&self.recorder, &self.recorder);
                let files = None::<&CommandTableFiles>;
                let run =
                    event_batch::run(context, ports, files, &event_context, &messages, deadline);
                run_until_killed(&self.sim, run).map(Ok)
            })?;
            for (_, reason) in &outcome.ignored {
                self.print(&format!("ignored: {reason}"));
            }
            self.print(&format!(
                "event {index}: {}",
                render::counted(outcome.applied(), "step")
            ));
        }
        Ok(())
    }

    fn print_grants(&mut self, region: &str) -> LineResult {
        let entries = self.sim.state().listed_grants(region);
        let policy = self.policy()?;
        let grant_mapping = match region {
            region if region == self.primary_region => {
                GrantMapping::of_primary(&policy, self.epoch)
            }
            _ => GrantMapping::of_standby(&policy, self.epoch),
        };
        let (grants, unsupported) = twinlake_core::grant::normalize(&entries, &grant_mapping);
        for (grant, grantable) in grants {
            if grant.principal.0 != ROLE && grant.principal.0 != ADMIN {
                let option = if grantable { " with grant option" } else { "" };
                self.print(&format!("{grant}{option}"));
            }
        }
        for (kind, count) in unsupported {
            self.print(&format!("{count} x {kind}"));
        }
        Ok(())
    }

    fn print_tables(&mut self, region: &str) -> LineResult {
        let state = self.sim.state();
        let mut lines = Vec::new();
        let partitions = state.raw_partitions(region);
        for (id, table) in state.raw_tables(region) {
            let columns: Vec<&str> = table.object.columns().map(|c| c.name.as_str()).collect();
            let descriptor = table.object.storage_descriptor.as_ref();
            let location = descriptor.and_then(|sd| sd.location.as_deref());
            let count = partitions.get(&id).map_or(0, BTreeMap::len);
            lines.push(format!(
                "{id} ({}) at {}, {}",
                columns.join(", "),
                location.unwrap_or("no location"),
                render::counted(count, "partition")
            ));
        }
        drop(state);
        lines.iter().for_each(|line| self.print(line));
        Ok(())
    }

    fn print_filters(&mut self, region: &str) -> LineResult {
        let filters = self.sim.state().raw_data_cells_filters(region);
        for ((table, name), filter) in filters {
            let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = &filter.columns;
            let listed: Vec<&str> = names.iter().map(Name::as_listed).collect();
            let listed = listed.join(", ");
            let columns = match &filter.columns {
                FilterColumns::Only(_) => listed,
                FilterColumns::AllBut(_) if listed.is_empty() => "all columns".to_owned(),
                FilterColumns::AllBut(_) => format!("all columns except {listed}"),
            };
            let rows = filter.rows.as_deref().unwrap_or("all rows");
            self.print(&format!("{name} of {table}: {columns}; {rows}"));
        }
        Ok(())
    }

    fn print_opt_ins(&mut self, region: &str) -> LineResult {
        let opt_ins = self.sim.state().raw_opt_ins(region);
        for opt_in in opt_ins {
            let on_all_tables = matches!(opt_in.resource, ListedResource::TableWildcard(_));
            let tables = if on_all_tables { "all tables of " } else { "" };
            let subject = subject_of_opt_in(&opt_in);
            self.print(&format!("{} on {tables}{subject}", opt_in.principal));
        }
        Ok(())
    }

    fn print_ledger(&mut self) -> LineResult {
        for (subject, row) in self.ledger.contents().rows {
            // Lake Formation subjects are printed only if something is wrong with them.
            if matches!(subject, Subject::LakeFormation(_)) && row.reason.is_none() {
                continue;
            }
            let paired = match row.pairing {
                Some(_) => "paired",
                None => "unpaired",
            };
            let reason = row
                .reason
                .map_or_else(String::new, |reason| format!(": {reason}"));
            self.print(&format!("{subject}, {paired}, {}{reason}", row.state));
        }
        Ok(())
    }

    fn print_calls(&mut self) -> LineResult {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for call in self.sim.state().take_calls() {
            *counts.entry((call.region, call.name)).or_default() += 1;
        }
        for ((region, call), count) in counts {
            self.print(&format!("{region} {call} x{count}"));
        }
        Ok(())
    }

    fn print_alerts(&mut self) -> LineResult {
        for alert in self.recorder.alerts.take() {
            self.print(&alert.subject_line());
            for sample in &alert.samples {
                self.print(&format!("  {sample}"));
            }
        }
        Ok(())
    }
}

/// A policy key and its value in the spelling of today.
fn renamed<'k>(key: &'k str, value: &str) -> (&'k str, String) {
    let former = FORMER_KEYS.iter().find(|(former, _)| *former == key);
    let value = match key {
        "brake" => value.replace("share", "fraction"),
        _ => value.to_owned(),
    };
    (former.map_or(key, |(_, since)| *since), value)
}
