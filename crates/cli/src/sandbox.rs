//! `sandbox`: two simulated Regions on 127.0.0.1.

use crate::args::SandboxArgs;
use crate::{CliError, Left, out};
use twinlake_sim::http::{Callers, Server, Sink};
use twinlake_sim::{Sim, World};

pub(crate) async fn sandbox(args: &SandboxArgs) -> Result<Left, CliError> {
    let account = &args.account;
    let role = |name: &str| format!("arn:aws:iam::{account}:role/{name}");
    let callers = Callers {
        twinlake: args
            .twinlake_role
            .clone()
            .unwrap_or_else(|| role("twinlake")),
        person: role("Admin"),
    };
    let regions: Vec<&str> = args.regions.iter().map(String::as_str).collect();
    let mut world = World::new(account, &regions);
    for region in &regions {
        world.add_administrator(region, &callers.twinlake);
        world.add_administrator(region, &callers.person);
    }
    if let (Some(region), Some(shown_to)) = (regions.first(), &args.shown_to) {
        world.set_reader(region, Some(shown_to));
    }
    let (listener, address) = Server::listen(args.port)
        .await
        .map_err(|e| CliError::Usage(format!("port {} cannot be used: {e}", args.port)))?;
    let sink = args
        .events_to
        .as_ref()
        .map(|endpoint| Sink::to_event_bridge(endpoint, account));
    out::print(&format!(
        "Serving Glue and Lake Formation of {} on http://{address}",
        regions.join(" and ")
    ));
    out::note(&format!(
        "Use it with AWS_ENDPOINT_URL_GLUE=http://{address} \
         AWS_ENDPOINT_URL_LAKEFORMATION=http://{address}; stop it with Ctrl-C."
    ));
    tokio::select! {
        () = Server::new(Sim::new(world), callers, sink).serve(listener) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Left::Nothing)
}
