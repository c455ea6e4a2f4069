//! Slots: how many tasks compute at once, and who comes next.
//!
//! Strictly first come, first served: a task that needs many slots is not overtaken by those that
//! need few, or it might wait for ever. A tokio semaphore would be fair too, but queues at the
//! first poll; the order here is that of the launches.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The slots of one executor.
#[derive(Debug)]
pub(crate) struct Slots {
    total: u32,
    queue_limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u32,
    next: u64,
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    slots: u32,
    granted: oneshot::Sender<()>,
}

/// No further task may wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// A task's place: in the queue first, then on its slots. Dropping it gives up either.
#[derive(Debug)]
pub(crate) struct Place {
    slots: Arc<Slots>,
    id: u64,
    wanted: u32,
    granted: oneshot::Receiver<()>,
}

impl Slots {
    pub(crate) fn new(total: u32, queue_limit: usize) -> Arc<Self> {
        Arc::new(Slots {
            total,
            queue_limit,
            state: Mutex::default(),
        })
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Slots that running tasks occupy.
    pub(crate) fn used(&self) -> u32 {
        self.state.lock().used
    }

    /// Slots that waiting tasks will occupy.
    pub(crate) fn queued(&self) -> u32 {
        let state = self.state.lock();
        state
            .queue
            .iter()
            .fold(0, |sum: u32, waiting| sum.saturating_add(waiting.slots))
    }

    /// Takes a place at the end of the queue, or slots at once if nobody waits. A task that wants
    /// more slots than there are gets all of them.
    pub(crate) fn enqueue(self: &Arc<Self>, slots: u32) -> Result<Place, QueueFull> {
        let wanted = slots.clamp(1, self.total);
        let (granted, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.queue.push_back(Waiting {
            id,
            slots: wanted,
            granted,
        });
        state.grant(self.total);
        if state.queue.len() > self.queue_limit {
            state.queue.pop_back();
            return Err(QueueFull);
        }
        drop(state);
        Ok(Place {
            slots: self.clone(),
            id,
            wanted,
            granted: receiver,
        })
    }
}

impl State {
    fn grant(&mut self, total: u32) {
        while let Some(next) = self.queue.front() {
            if self.used + next.slots > total {
                return;
            }
            self.used += next.slots;
            if let Some(next) = self.queue.pop_front() {
                // A receiver that is gone gives the slots back in its place's drop.
                let _ = next.granted.send(());
            }
        }
    }
}

impl Place {
    /// Waits for the slots. They are held until the place is dropped.
    pub(crate) async fn granted(&mut self) {
        // The sender lives in the queue until it is used, and only this place's drop removes it.
        let _ = (&mut self.granted).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        match state.queue.iter().position(|waiting| waiting.id == self.id) {
            Some(index) => drop(state.queue.remove(index)),
            None => state.used -= self.wanted,
        }
        state.grant(self.slots.total);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn runs(place: &mut Place) -> bool {
        place.granted().now_or_never().is_some()
    }

    #[test]
    fn first_come_first_served_even_if_a_later_one_would_fit() {
        let slots = Slots::new(4, 10);
        let mut a = slots.enqueue(3).unwrap();
        let mut wide = slots.enqueue(4).unwrap();
        let mut small = slots.enqueue(1).unwrap();
        assert!(runs(&mut a));
        assert!(!runs(&mut wide) && !runs(&mut small));
        assert_eq!((slots.used(), slots.queued()), (3, 5));
        drop(a);
        assert!(runs(&mut wide) && !runs(&mut small));
        drop(wide);
        assert!(runs(&mut small));
        drop(small);
        assert_eq!((slots.used(), slots.queued()), (0, 0));
    }

    #[test]
    fn who_leaves_the_queue_lets_others_through() {
        let slots = Slots::new(2, 10);
        let a = slots.enqueue(1).unwrap();
        let wide = slots.enqueue(9).unwrap();
        let mut small = slots.enqueue(1).unwrap();
        assert!(!runs(&mut small));
        drop(wide);
        assert!(runs(&mut small));
        drop((a, small));
        assert_eq!(slots.used(), 0);
    }

    #[test]
    fn a_full_queue_refuses_and_stays_as_it_was() {
        let slots = Slots::new(1, 1);
        let _running = slots.enqueue(1).unwrap();
        let _waiting = slots.enqueue(1).unwrap();
        assert_eq!(slots.enqueue(1).unwrap_err(), QueueFull);
        assert_eq!((slots.used(), slots.queued()), (1, 1));
    }

    #[test]
    fn slots_granted_to_a_place_that_was_never_polled_come_back() {
        let slots = Slots::new(1, 10);
        drop(slots.enqueue(1).unwrap());
        assert_eq!(slots.used(), 0);
        assert!(runs(&mut slots.enqueue(1).unwrap()));
    }
}
