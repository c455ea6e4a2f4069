//! Work that one scheduler has to do, whichever it is. Who does it is agreed upon without talking; that
//! two do it for a while, or nobody, does no harm.

use paceline_core::ownership::rank;
use paceline_model::{QueryId, SchedulerId};

use crate::shared::Shared;

/// What of that work is this scheduler's, as the members stand.
#[derive(Debug)]
pub(crate) struct Duties {
    me: SchedulerId,
    live: Vec<SchedulerId>,
}

impl Duties {
    /// As the members stand now.
    pub(crate) fn of(shared: &Shared) -> Self {
        let live = shared.membership.live().into_iter();
        Duties {
            me: shared.driver.me(),
            live: live.map(|beacon| beacon.scheduler).collect(),
        }
    }

    /// Whether this scheduler does what is to be done for a query.
    pub(crate) fn include(&self, query: QueryId) -> bool {
        rank(query, &self.me, &self.live) == 0
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_query_is_the_duty_of_one_scheduler() {
        let live = ["a", "b", "c"].map(SchedulerId::new);
        let all = live.clone().map(|me| Duties {
            me,
            live: live.to_vec(),
        });
        let mut each = [0; 3];
        for n in 0..30 {
            let query = QueryId(Uuid::from_bytes([n; 16]));
            let whose: Vec<usize> = (0..3).filter(|who| all[*who].include(query)).collect();
            assert_eq!(whose.len(), 1, "{query}");
            each[whose[0]] += 1;
        }
        assert!(each.iter().all(|share| *share > 0), "{each:?}");
    }
}
