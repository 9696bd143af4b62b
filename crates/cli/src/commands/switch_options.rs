//! The options that `twinlake failover`, `switchover` and `failback` have in common.

use clap::Args;
use std::collections::BTreeSet;
use twinlake_core::failover::{FailoverRequest, ForceableGate, SwitchoverReadings};

/// How a switch is asked for.
#[derive(Debug, Clone, Args)]
pub struct SwitchOptions {
    /// Show every step and what is behind, and refuse as the real command would; change nothing
    #[arg(long)]
    pub validate_only: bool,
    /// Undo a takeover that has not written its epoch yet
    #[arg(long, conflicts_with_all = ["validate_only", "force", "epoch"])]
    pub undo: bool,
    /// Refuse unless the ledger holds this epoch, as `--validate-only` shows it
    #[arg(long, value_name = "NUMBER")]
    pub epoch: Option<u64>,
    /// Open a gate by its name, as the refusal shows it; repeatable
    #[arg(long, value_name = "GATE", value_parser = parse_gate)]
    pub force: Vec<ForceableGate>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Wait this long instead of two minutes; only with an AWS on this computer
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub local_wait: Option<u64>,
}

impl SwitchOptions {
    /// What is asked for: a switchover by these readings, or a failover with or without loss.
    pub(super) fn request(
        &self,
        accepts_loss: bool,
        switchover: Option<SwitchoverReadings>,
    ) -> FailoverRequest {
        FailoverRequest {
            accepts_loss,
            seen_epoch: self.epoch,
            forced: self.force.iter().copied().collect::<BTreeSet<_>>(),
            switchover,
            execution: None,
        }
    }

    /// The question to answer before anything is switched; `None` if nobody is to be asked.
    pub(super) fn confirmation<'q>(&self, question: &'q str) -> Option<&'q str> {
        Some(question).filter(|_| !self.yes)
    }
}

fn parse_gate(text: &str) -> Result<ForceableGate, String> {
    let mut gates = ForceableGate::EVERY.into_iter();
    gates.find(|gate| gate.as_str() == text).ok_or_else(|| {
        let names = ForceableGate::EVERY.map(ForceableGate::as_str);
        format!("the gates that can be forced are {}", names.join(", "))
    })
}
