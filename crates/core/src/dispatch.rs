//! Whose turn it is to launch a task.

use paceline_model::QueryId;

use crate::Core;
use crate::query::Launched;
use crate::timers::Alarm;

/// A query's place in the order in which queries get their turn: the one that uses the fewest slots
/// first, so that none can starve the others; of equals the one that came first.
pub(crate) type Turn = (u32, u64, QueryId);

impl Core {
    /// Puts a query where it belongs in the order of turns, or takes it out.
    pub(crate) fn rank(&mut self, id: QueryId) {
        if let Some(turn) = self.ranked.remove(&id) {
            self.turns.remove(&turn);
        }
        if let Some(query) = self.queries.get(&id).filter(|q| !q.open.is_empty()) {
            let turn = (query.slots, query.turn, id);
            self.turns.insert(turn);
            self.ranked.insert(id, turn);
        }
    }

    /// Launches whatever can be launched, one task of the neediest query at a time.
    pub(crate) fn dispatch(&mut self) {
        if self.shared.executors.accepting() == 0 {
            self.note_starving();
            return;
        }
        for id in std::mem::take(&mut self.shared.starved) {
            if let Some(query) = self.queries.get_mut(&id) {
                query.starved_since = None;
            }
        }
        let mut passed_over = Vec::new();
        while let Some((_, _, id)) = self.turns.pop_first() {
            self.ranked.remove(&id);
            let Some(query) = self.queries.get_mut(&id) else {
                continue;
            };
            match query.launch_next(&mut self.shared) {
                Launched::One => self.rank(id),
                Launched::Nothing => passed_over.push(id),
                Launched::NoRoom => {
                    // Nobody may pass a query that waits for room, or small tasks would starve
                    // large ones.
                    passed_over.push(id);
                    break;
                }
            }
        }
        for id in passed_over {
            self.rank(id);
        }
    }

    fn note_starving(&mut self) {
        let now = self.shared.now;
        let grace = self.shared.options.no_executor_grace;
        for &(_, _, id) in &self.turns {
            if self.shared.starved.insert(id)
                && let Some(query) = self.queries.get_mut(&id)
            {
                query.starved_since = Some(now);
                self.shared.timers.set(now.after(grace), Alarm::Starved(id));
            }
        }
    }
}
