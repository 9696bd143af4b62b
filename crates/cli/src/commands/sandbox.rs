//! `twinlake sandbox`: serves two simulated Regions on 127.0.0.1.

use crate::files::read_answers;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::path::PathBuf;
use twinlake_sim::http::{CallerPrincipals, EventSink, Server};
use twinlake_sim::{Sim, SimState};

/// Arguments of `twinlake sandbox`.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 5312)]
    pub port: u16,
    /// The AWS account of the simulated Regions
    #[arg(long, value_name = "ID", default_value = "111122223333")]
    pub account: String,
    /// A simulated Region; give it twice, once for each Region. It replaces the default
    #[arg(long = "with-region", value_name = "REGION",
          default_values_t = ["us-east-1".to_owned(), "ap-south-1".to_owned()])]
    pub regions: Vec<String>,
    /// An EventBridge endpoint that gets the events of every change, as from AWS
    #[arg(long, value_name = "URL")]
    pub events_to: Option<String>,
    /// The role that the sandbox sees as the caller of Twinlake's own calls [default: the role
    /// `twinlake` of the account]
    #[arg(long, value_name = "ARN")]
    pub twinlake_role: Option<String>,
    /// A role that gets DESCRIBE and SELECT on all tables of each new database of the first Region,
    /// as the own-access function of a deployed primary grants them
    #[arg(long, value_name = "ARN")]
    pub reader_role: Option<String>,
    /// What AWS answered to `make live` (live-answers.json): the sandbox then behaves so
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
}

pub(crate) async fn run(args: &SandboxArgs) -> Result<CommandOutcome, CliError> {
    let account = &args.account;
    let role = |name: &str| format!("arn:aws:iam::{account}:role/{name}");
    let callers = CallerPrincipals {
        twinlake: args
            .twinlake_role
            .clone()
            .unwrap_or_else(|| role("twinlake")),
        other: role("Admin"),
    };
    let regions: Vec<&str> = args.regions.iter().map(String::as_str).collect();
    let mut state = SimState::new(account, &regions);
    state.apply_answers(&read_answers(args.answers.as_deref())?);
    for region in &regions {
        state.add_data_lake_admin(region, &callers.twinlake);
        state.add_data_lake_admin(region, &callers.other);
    }
    if let (Some(region), Some(reader_role)) = (regions.first(), &args.reader_role) {
        state.set_reader_role(region, Some(reader_role));
    }
    let (listener, address) = Server::listen(args.port)
        .await
        .map_err(|e| CliError::Usage(format!("port {} cannot be used: {e}", args.port)))?;
    let sink = args
        .events_to
        .as_ref()
        .map(|endpoint| EventSink::to_event_bridge(endpoint, account));
    output::print(&format!(
        "Serving Glue and Lake Formation of {} on http://{address}",
        regions.join(" and ")
    ));
    output::note(&format!(
        "Use it with AWS_ENDPOINT_URL_GLUE=http://{address} \
         AWS_ENDPOINT_URL_LAKEFORMATION=http://{address}; stop it with Ctrl-C."
    ));
    tokio::select! {
        () = Server::new(Sim::new(state), callers, sink).serve(listener) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(CommandOutcome::Done)
}
