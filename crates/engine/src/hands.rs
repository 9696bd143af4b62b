//! Other people's hands on what is replicated.

use crate::ports::Ledger;
use std::collections::BTreeSet;
use twinlake_core::event::Hand;
use twinlake_core::policy::Settings;
use twinlake_core::{Alert, AlertKind, Fault, Lake, Policy, Scope, State, Subject};

/// What people are to be told of somebody's change in the standby, and where to look because
/// of it. `None` if it is about nothing that is ours.
///
/// # Errors
/// The ledger is out of reach.
pub async fn of_hand<L: Ledger>(
    ledger: &L,
    hand: &Hand,
    region: &str,
    policy: &Policy,
) -> Result<Option<(Alert, Scope)>, Fault> {
    let asked: BTreeSet<Subject> = hand.scope.looks.keys().cloned().collect();
    let rows = ledger.rows(&asked).await?;
    let mut scope = Scope::default();
    for (subject, look) in &hand.scope.looks {
        let row = rows.get(subject);
        let ours = match subject {
            // A record that names nothing is no reason to look at everything.
            Subject::Catalog => false,
            // Settings that are only compared are everybody's own.
            Subject::Lake(Lake::Settings) if policy.settings == Settings::Report => false,
            Subject::Lake(_) => row.is_some_and(|row| !row.owned.is_empty()),
            Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
                // What the brake holds differs already, and is known.
                row.is_some_and(|row| row.pairing.is_some() && row.state != State::Held)
            }
        };
        if ours {
            scope.look(subject.clone(), look.clone());
        }
    }
    if scope.is_empty() {
        return Ok(None);
    }
    let about: BTreeSet<String> = scope.looks.keys().map(ToString::to_string).collect();
    let databases = scope.looks.keys().filter_map(Subject::database).cloned();
    let subject = scope.to_string();
    let (who, action) = (&hand.who, &hand.action);
    let sentences = [
        format!("{who} changed {subject} in the standby by {action}."),
        "Twinlake looks at it now and makes it equal to the primary again.".to_owned(),
        "Make such changes in the primary, or take the right to make them in the standby away."
            .to_owned(),
    ];
    let databases: BTreeSet<_> = databases.collect();
    let group = databases
        .first()
        .map_or(subject.clone(), ToString::to_string);
    let alert = Alert {
        group,
        about,
        databases,
        samples: vec![format!("{action} on {subject} by {who}")],
        ..Alert::new(AlertKind::Drift, region, &subject, sentences, hand.at)
    };
    Ok(Some((alert, scope)))
}
