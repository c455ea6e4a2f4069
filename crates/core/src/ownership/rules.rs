//! The rules that the protocol rests on, each of which a test can switch off to see that the checker
//! notices.

/// One rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An adoption is in the adopter's journal before it is claimed.
    JournalBeforeClaim,
    /// An adoption counts only once its claim is won.
    ClaimAfterAdoption,
    /// An adoption without its claim, met in a sealed journal, is settled before the journal is
    /// drained.
    SettleUnclaimed,
    /// A snapshot carries on adoptions that are not claimed yet.
    SnapshotKeepsUnclaimed,
    /// A submitted query is driven only once it is claimed.
    ClaimSubmission,
    /// Of a submitted query in a sealed journal, the claim is made that its scheduler may not have come
    /// to make, before anybody adopts it.
    CompleteSubmission,
}

/// Which rules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// The whole protocol.
    pub const ALL: Rules = Rules { broken: None };

    /// The protocol without one of its rules. For tests of the tests alone.
    #[doc(hidden)]
    pub fn without(rule: Rule) -> Self {
        Rules { broken: Some(rule) }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}

impl Default for Rules {
    /// All rules, but for one that a deliberately broken build leaves out.
    fn default() -> Self {
        #[cfg(feature = "sabotage")]
        for (check, rule) in [
            (paceline_sabotage::Check::Claim, Rule::ClaimAfterAdoption),
            (paceline_sabotage::Check::Unclaimed, Rule::SettleUnclaimed),
        ] {
            if paceline_sabotage::leaves_out(check) {
                return Rules::without(rule);
            }
        }
        Rules::ALL
    }
}
