//! The conversions between the model's rows and the real ones, and the real plan.

use super::*;

pub(super) fn table(content: Content) -> Table {
    let table = serde_json::json!({"Name": "t", "Description": content.to_string()});
    serde_json::from_value(table).expect("a table is JSON")
}

pub(super) fn digest_of(content: Content) -> String {
    digest(&table(content).into_comparable())
}

pub(super) fn timestamp(created: Created) -> Timestamp {
    Timestamp::from_millis(CREATED.millis() + i64::from(created))
}

pub(super) fn creation(timestamp: Timestamp) -> Created {
    Created::try_from(timestamp.millis() - CREATED.millis()).expect("few objects are created")
}

/// The conversions between the model's rows and the real ones.
impl RowModel {
    pub(super) fn pairing(&self, paired: PairedObject) -> Pairing {
        let epoch = self.inputs.epoch;
        let created_in_primary = paired.created_in_primary.map(timestamp);
        let created_in_standby = Some(timestamp(paired.created_in_standby));
        let digest = Some(digest_of(paired.content));
        Pairing {
            created: BySite::from_roles(epoch, created_in_primary, created_in_standby),
            digest: BySite::from_roles(epoch, None, digest),
            link: false,
        }
    }

    pub(super) fn paired(&self, pairing: &Pairing) -> PairedObject {
        let epoch = self.inputs.epoch;
        let digest = pairing.digest.get(epoch.standby()).as_ref();
        let created = pairing.created_in(epoch.standby());
        PairedObject {
            created_in_primary: pairing.created_in(epoch.primary()).map(creation),
            created_in_standby: creation(created.expect("the object was read")),
            content: *digest
                .and_then(|digest| self.digests.get(digest))
                .expect("the content is one of the model's"),
        }
    }

    /// The real row. Intents are recorded at the time 0, as those of one run: unlike a real run, no
    /// handler knows which are its own, so all of them are kept until they are old.
    pub(super) fn ledger_row(
        &self,
        pairing: Option<PairedObject>,
        intents: &BTreeSet<Content>,
    ) -> LedgerRow {
        let mut row = LedgerRow {
            pairing: pairing.map(|paired| self.pairing(paired)),
            ..LedgerRow::new(self.inputs.subject(), SubjectState::OutOfSync, CREATED)
        };
        for content in intents {
            row.record_intent(0, &digest_of(*content), Timestamp::from_millis(0));
        }
        row
    }

    pub(super) fn merge(
        &self,
        base: Option<PairedObject>,
        found: Option<PairedObject>,
        stored: Option<PairedObject>,
    ) -> Option<PairedObject> {
        let [base, found, stored] =
            [base, found, stored].map(|paired| paired.map(|paired| self.pairing(paired)));
        let merged = Pairing::merge(base.as_ref(), found, stored.as_ref(), self.inputs.epoch);
        merged.map(|pairing| self.paired(&pairing))
    }

    pub(super) fn plan_and_audit(&self, question: &Question) -> Option<Decision> {
        let snapshot = |object: Option<Object>, is_primary| {
            let mut snapshot = self.inputs.snapshot(is_primary);
            let object = object.map(|object| (table(object.content), timestamp(object.created)));
            self.inputs.add_table(&mut snapshot, object, Grants::new());
            snapshot
        };
        let held = question.held.iter().map(|kind| match kind {
            StepKind::Write => StepTarget::Object(self.inputs.subject()),
            StepKind::Delete => StepTarget::Deletion(self.inputs.subject()),
        });
        let reads = Reads {
            scope: &self.inputs.scope(&[Facet::Definition, Facet::Grants]),
            primary: &snapshot(question.primary, true),
            standby: &snapshot(question.standby, false),
            row: (question.pairing.is_some() || !question.intents.is_empty())
                .then(|| self.ledger_row(question.pairing, &question.intents)),
            held: held.collect(),
        };
        let approved = self.inputs.plan_and_audit(reads)?;
        let plan = approved.plan();
        let content_of = |table: &Table| {
            let digest = digest(&table.clone().into_comparable());
            *self
                .digests
                .get(&digest)
                .expect("the content is one of the model's")
        };
        let steps = plan.steps.iter().map(|step| match step {
            Step::CreateTable { table, .. } => TableStep::Create(content_of(table)),
            Step::UpdateTable { table, .. } => TableStep::Update(content_of(table)),
            Step::DeleteTable { .. } => TableStep::Delete,
            other => panic!("this model has no {other:?}"),
        });
        let outcome = plan.subject_outcomes.get(&self.inputs.subject());
        let outcome = outcome.map(|outcome| Outcome {
            is_in_sync: outcome.state == SubjectState::InSync,
            pairing: outcome.pairing.as_ref().map(|pairing| self.paired(pairing)),
            is_gone: outcome.gone,
        });
        Some((steps.zip(plan.requires.iter().cloned()).collect(), outcome))
    }

    /// Whether the row may be deleted. After the resync's start, every intent is old.
    pub(super) fn may_forget(&self, state: &RowState, handler: &Working, row: &Row) -> bool {
        let now = match state.is_resynced {
            true => Timestamp::from_secs(24 * 3600),
            false => Timestamp::from_millis(0),
        };
        let mut intents = row.intents.clone();
        if let (Some(Mutant::ForgetsSharedIntents), Some(own)) = (self.mutant, handler.intent) {
            intents.remove(&own);
        }
        !self
            .ledger_row(row.pairing, &intents)
            .is_creation_under_way(1, now)
    }
}
