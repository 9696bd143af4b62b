//! What becomes of a call, and the rule by which the steps of a plan are applied.

/// A fault that is put into the model to show that a property can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Steps are applied although a step that they require failed.
    IgnoresRequirements,
    /// Rows of the ledger are written whatever was written meanwhile.
    WritesRowsUnconditionally,
    /// What is about to be created is not recorded in the ledger.
    RecordsNoIntents,
    /// The row is deleted although another handler may be creating the same content.
    ForgetsSharedIntents,
    /// The intents of handlers at work are cleared once the table is paired.
    ClearsIntentsOfOthers,
    /// After a revoke, a listing that shows the grant is ignored although a new grant of it failed.
    HidesGrantsThatFailed,
    /// A table that only an intent proves is updated before it is paired.
    PairsAtTheEnd,
    /// The lease of a function is counted from the end of reading the role.
    CountsLeaseFromTheEnd,
    /// A function sends requests whatever the age of its lease.
    SendsWithoutLease,
    /// A switch waits only until leases have ended, and not for requests under way.
    WaitsForTheLeaseOnly,
    /// A switchover makes the former primary the standby without comparing both Regions.
    HandsOverUncompared,
    /// An acceptance writes the record of the former primary whatever was written meanwhile.
    AcceptsUnconditionally,
    /// A listing is believed, whatever events say.
    IgnoresGrantCalls,
    /// What events say of a grant is recorded in the row only after the steps.
    RecordsCallsAtTheEnd,
    /// A listing is believed, whatever the row has of earlier events.
    ForgetsGrantCalls,
}

/// The result of a call that writes to the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallResult {
    Applied,
    /// It failed and took no effect: contention. The next round tries again.
    Failed,
    /// It failed and took effect: an attempt that was answered late, and one behind it that met
    /// contention. The next round reads again.
    FailedWithEffect,
    /// Its response was lost, and it took effect. The message returns to the queue.
    TimedOut,
    /// It fails for good: denied, or invalid. The handler plans the rest without it.
    Refused,
}

impl CallResult {
    /// Every result but [`CallResult::Applied`].
    pub const FAILURES: [Self; 4] = [
        Self::Failed,
        Self::FailedWithEffect,
        Self::TimedOut,
        Self::Refused,
    ];

    pub fn has_effect(self) -> bool {
        match self {
            Self::Applied | Self::FailedWithEffect | Self::TimedOut => true,
            Self::Failed | Self::Refused => false,
        }
    }

    /// The possible results while `failures_left` failures may still happen.
    pub fn possible(failures_left: u8) -> impl Iterator<Item = Self> {
        let failures = Self::FAILURES.into_iter();
        std::iter::once(Self::Applied).chain(failures.filter(move |_| failures_left > 0))
    }
}

/// A plan while it is applied, in its order, by the executor's rule: a step whose requirements did
/// not all succeed is skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunningPlan<S> {
    steps: Vec<(S, Vec<usize>)>,
    /// Whether each step that is done succeeded. Skipped steps did not.
    succeeded: Vec<bool>,
    /// A response was lost, so the message returns to the queue once the plan is done.
    pub has_to_wait: bool,
}

impl<S: Copy> RunningPlan<S> {
    pub fn new(steps: Vec<(S, Vec<usize>)>) -> Self {
        Self {
            steps,
            succeeded: Vec::new(),
            has_to_wait: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next step; `None` if the plan is done.
    pub fn next_step(&self) -> Option<S> {
        self.steps.get(self.succeeded.len()).map(|(step, _)| *step)
    }

    /// The steps that are neither done nor skipped.
    pub fn remaining(&self) -> impl Iterator<Item = S> {
        self.steps
            .iter()
            .skip(self.succeeded.len())
            .map(|(step, _)| *step)
    }

    /// Records the result of the next step, and skips what requires a step that failed.
    pub fn record(&mut self, result: CallResult, mutant: Option<Mutant>) {
        self.has_to_wait |= result == CallResult::TimedOut;
        self.succeeded.push(result == CallResult::Applied);
        if mutant == Some(Mutant::IgnoresRequirements) {
            return;
        }
        while let Some((_, requires)) = self.steps.get(self.succeeded.len()) {
            let is_done = |position: &usize| self.succeeded.get(*position) == Some(&true);
            if requires.iter().all(is_done) {
                return;
            }
            self.succeeded.push(false);
        }
    }
}

/// The maximum number of rounds of a handler, after which its message returns to the queue.
pub const MAX_ROUNDS: u8 = 6;
