//! The connections that go through a proxy, and what holds for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Traffic;
use super::callers::{Callers, Ends};

/// What has happened since the proxy began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) held_back: AtomicU64,
    pub(super) forwarded: AtomicU64,
}

/// Some of the connections that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) count: usize,
    /// On how many of them something waits for the end of a stall.
    pub(crate) held_up: usize,
}

/// What a connection watches. That it was cut is never taken back, because it may look late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) traffic: Traffic,
    pub(super) is_cut: bool,
}

struct Connection {
    ends: Option<Ends>,
    /// The process that made it, once that matters, and what holds for the connections of that one.
    caller: Option<u32>,
    of_caller: Traffic,
    is_held_up: bool,
    order: watch::Sender<Order>,
}

impl Connection {
    fn is_of(&self, process: u32, made: &BTreeSet<Ends>) -> bool {
        let is_made = |ends: &Ends| made.contains(ends);
        self.caller == Some(process) || self.ends.as_ref().is_some_and(is_made)
    }

    /// Has it do what holds for all, or for those of its process if that is worse.
    fn obey(&mut self, all: Traffic) {
        let traffic = all.max(self.of_caller);
        self.is_held_up &= traffic == Traffic::Stalls;
        self.order.send_modify(|order| {
            order.traffic = traffic;
            order.is_cut |= traffic == Traffic::Cut;
        });
    }
}

struct State {
    /// What holds for all connections.
    all: Traffic,
    admitted: u64,
    open: BTreeMap<u64, Connection>,
}

/// Those of one proxy.
pub(super) struct Connections {
    pub(super) counts: Counts,
    callers: Arc<Callers>,
    state: Mutex<State>,
}

impl Connections {
    pub(super) fn new(callers: Arc<Callers>) -> Arc<Connections> {
        let state = State {
            all: Traffic::Flows,
            admitted: 0,
            open: BTreeMap::new(),
        };
        Arc::new(Connections {
            counts: Counts::default(),
            callers,
            state: Mutex::new(state),
        })
    }

    /// Lets a connection in. None if such are cut.
    pub(super) fn admit(self: &Arc<Self>, ends: Option<Ends>) -> Option<Admitted> {
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        // Whoever is told to stand still is either seen here, or sees this connection when it is told.
        let state = &mut *self.lock();
        let caller = ends.as_ref().and_then(|ends| self.callers.of(ends));
        let of_caller = caller.map_or(Traffic::Flows, |(_, traffic)| traffic);
        let traffic = state.all.max(of_caller);
        if traffic == Traffic::Cut {
            self.counts.cut.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (order, orders) = watch::channel(Order {
            traffic,
            is_cut: false,
        });
        state.admitted += 1;
        let connection = Connection {
            ends,
            caller: caller.map(|(process, _)| process),
            of_caller,
            is_held_up: false,
            order,
        };
        state.open.insert(state.admitted, connection);
        Some(Admitted {
            number: state.admitted,
            orders,
            connections: Arc::clone(self),
        })
    }

    /// From now on, for all.
    pub(super) fn set(&self, traffic: Traffic) {
        let state = &mut *self.lock();
        state.all = traffic;
        for connection in state.open.values_mut() {
            connection.obey(traffic);
        }
    }

    /// For those that a process has made.
    pub(super) fn set_of(&self, process: u32, made: &BTreeSet<Ends>, traffic: Traffic) {
        let state = &mut *self.lock();
        for connection in state.open.values_mut() {
            if connection.is_of(process, made) {
                connection.caller = Some(process);
                connection.of_caller = traffic;
                connection.obey(state.all);
            }
        }
    }

    pub(super) fn open(&self) -> Open {
        self.count(|_| true)
    }

    pub(super) fn open_of(&self, process: u32, made: &BTreeSet<Ends>) -> Open {
        self.count(|connection| connection.is_of(process, made))
    }

    fn count(&self, which: impl Fn(&Connection) -> bool) -> Open {
        let mut open = Open::default();
        for connection in self.lock().open.values().filter(|one| which(one)) {
            open.count += 1;
            open.held_up += usize::from(connection.is_held_up);
        }
        open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for as long as it is open.
pub(super) struct Admitted {
    number: u64,
    pub(super) orders: watch::Receiver<Order>,
    connections: Arc<Connections>,
}

impl Admitted {
    pub(super) fn counts(&self) -> &Counts {
        &self.connections.counts
    }

    /// Notes that a piece has to wait.
    pub(super) fn hold_up(&self) {
        self.counts().held_back.fetch_add(1, Ordering::Relaxed);
        let state = &mut *self.connections.lock();
        if let Some(connection) = state.open.get_mut(&self.number) {
            // The stall may be over by now.
            connection.is_held_up = connection.order.borrow().traffic == Traffic::Stalls;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
    }
}
