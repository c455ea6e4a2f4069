//! The rules that the protocol rests on, each of which a test can switch off to see that the checker
//! notices.

/// One rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An adoption is in the adopter's journal before it is claimed.
    JournalBeforeClaim,
    /// An adoption without its claim, met in a sealed journal, is settled before the journal is
    /// drained.
    SettleUnclaimed,
    /// A snapshot carries on adoptions that are not claimed yet.
    SnapshotKeepsUnclaimed,
}

/// All rules, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// The protocol without one of its rules. For tests of the tests alone.
    #[doc(hidden)]
    pub fn without(rule: Rule) -> Self {
        Rules { broken: Some(rule) }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
