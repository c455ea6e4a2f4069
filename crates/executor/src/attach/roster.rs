//! Which addresses are dialed: those configured, and those that schedulers tell of.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use paceline_model::SchedulerId;
use paceline_proto::cluster;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial::keep_attached;
use super::pause::Pause;
use crate::node::Node;

/// How often configured names are looked up again: schedulers may come and go behind them.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

/// How often a name that a scheduler told of is looked up before it is given up. It is tried again
/// when a scheduler tells of it again.
const LOOK_UPS: u32 = 20;

/// News for the roster.
#[derive(Debug)]
pub(super) enum Heard {
    /// A configured name stands for these addresses now.
    Resolved(String, Vec<SocketAddr>),
    /// A scheduler says who is there.
    Members(SchedulerId, Vec<cluster::Member>),
    /// Where a scheduler that was told of lies.
    Found(Told, SocketAddr),
}

/// A scheduler as another one tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Told {
    scheduler: SchedulerId,
    /// `host:port` of its cluster port.
    address: String,
}

/// Keeps a stream to every scheduler until the node stops.
pub(crate) async fn attach_to_all(node: Arc<Node>, configured: Vec<String>) {
    let (heard, mut news) = mpsc::channel(64);
    let mut roster = Roster {
        node: node.clone(),
        heard: heard.clone(),
        tasks: TaskTracker::new(),
        configured: HashMap::new(),
        told: HashMap::new(),
        dialers: HashMap::new(),
    };
    for name in configured {
        let look_up = keep_looking_up(name, heard.clone());
        roster.spawn(look_up);
    }
    // Cancel safety: `recv` loses nothing when it is dropped, and nothing is wanted after a stop.
    loop {
        tokio::select! {
            () = node.stop.cancelled() => break,
            Some(heard) = news.recv() => roster.hear(heard),
        }
    }
    roster.tasks.close();
    roster.tasks.wait().await;
}

async fn keep_looking_up(name: String, heard: mpsc::Sender<Heard>) {
    let mut pause = Pause::default();
    loop {
        let wait = match tokio::net::lookup_host(&name).await {
            Ok(addresses) => {
                pause.reset();
                let addresses = addresses.collect();
                let _ = heard.send(Heard::Resolved(name.clone(), addresses)).await;
                LOOK_UP_AGAIN
            }
            Err(error) => {
                tracing::warn!("cannot look up the scheduler address '{name}': {error}");
                pause.next()
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "names are looked up now and then: nobody tells what has become of one"
        )]
        tokio::time::sleep(wait).await;
    }
}

async fn look_up(told: Told, heard: mpsc::Sender<Heard>) {
    let mut pause = Pause::default();
    for _ in 0..LOOK_UPS {
        match tokio::net::lookup_host(told.address.clone()).await {
            Ok(mut addresses) => {
                if let Some(address) = addresses.next() {
                    let _ = heard.send(Heard::Found(told, address)).await;
                    return;
                }
            }
            Err(error) => tracing::warn!(
                scheduler = %told.scheduler,
                "cannot look up '{}': {error}",
                told.address
            ),
        }
        #[expect(clippy::disallowed_methods, reason = "after a failure")]
        tokio::time::sleep(pause.next()).await;
    }
}

struct Roster {
    node: Arc<Node>,
    heard: mpsc::Sender<Heard>,
    tasks: TaskTracker,
    configured: HashMap<String, Vec<SocketAddr>>,
    /// By teller, whom it tells of.
    told: HashMap<SchedulerId, HashSet<Told>>,
    dialers: HashMap<SocketAddr, Dialer>,
}

struct Dialer {
    /// Who was told to be there; none for a configured address.
    told: Option<Told>,
    end: CancellationToken,
}

impl Dialer {
    /// A scheduler that was taken over goes on at its address under another id: if nobody names the
    /// former one any more, the dialer is there for the other one.
    fn follow(&mut self, told: &HashSet<&Told>) {
        let Some(former) = self.told.as_ref().filter(|former| !told.contains(former)) else {
            return;
        };
        let mut successors = told.iter().filter(|by| by.address == former.address);
        if let Some(successor) = successors.next() {
            self.told = Some(Told::clone(successor));
        }
    }
}

impl Roster {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.node.stop.clone();
        // Cancel safety: nothing of a task is wanted after a stop.
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Resolved(name, addresses) => {
                for address in &addresses {
                    self.dial(*address, None);
                }
                self.configured.insert(name, addresses);
            }
            Heard::Found(told, address) => {
                if self.told.values().any(|all| all.contains(&told)) {
                    self.dial(address, Some(told));
                }
            }
            Heard::Members(teller, members) => self.members(teller, members),
        }
        self.end_useless_dialers();
    }

    fn members(&mut self, teller: SchedulerId, members: Vec<cluster::Member>) {
        let told = members.into_iter().map(|member| Told {
            scheduler: SchedulerId::new(member.scheduler),
            address: member.cluster_address,
        });
        let told: HashSet<Told> = told.collect();
        for told in &told {
            let mut dialers = self.dialers.values();
            let known = dialers.any(|dialer| dialer.told.as_ref() == Some(told));
            if !known && !self.node.book.lock().is_attached(&told.scheduler) {
                self.spawn(look_up(told.clone(), self.heard.clone()));
            }
        }
        self.told.insert(teller, told);
        // What a scheduler said counts while it is there to say otherwise.
        let book = self.node.book.lock();
        self.told.retain(|teller, _| book.is_attached(teller));
    }

    fn dial(&mut self, address: SocketAddr, told: Option<Told>) {
        if self.dialers.contains_key(&address) {
            return;
        }
        let end = self.node.stop.child_token();
        let dialer = keep_attached(
            self.node.clone(),
            address,
            told.as_ref().map(|told| told.scheduler.clone()),
            self.heard.clone(),
            end.clone(),
        );
        // Not through `spawn`: on a stop the dialer ends its stream by itself.
        self.tasks.spawn(dialer);
        self.dialers.insert(address, Dialer { told, end });
    }

    /// Ends dialers of addresses that nobody names any more. While no scheduler is attached all of
    /// them stay: any one may be the first to come back.
    fn end_useless_dialers(&mut self) {
        if self.told.is_empty() {
            return;
        }
        let configured: HashSet<&SocketAddr> = self.configured.values().flatten().collect();
        let told: HashSet<&Told> = self.told.values().flatten().collect();
        self.dialers.retain(|address, dialer| {
            dialer.follow(&told);
            let named = dialer.told.as_ref().is_some_and(|by| told.contains(by));
            let useful = named || configured.contains(address);
            if !useful {
                dialer.end.cancel();
            }
            useful
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialer_follows_a_scheduler_that_goes_on_under_another_id() {
        let told = |scheduler: &str, address: &str| Told {
            scheduler: SchedulerId::new(scheduler),
            address: address.to_string(),
        };
        let mut dialer = Dialer {
            told: Some(told("a", "here:1")),
            end: CancellationToken::new(),
        };
        let (former, next) = (told("a", "here:1"), told("b", "here:1"));
        let other = told("c", "there:1");
        dialer.follow(&HashSet::from([&former, &next]));
        assert_eq!(dialer.told, Some(former), "it is still named");
        dialer.follow(&HashSet::from([&other]));
        assert_ne!(dialer.told.as_ref(), Some(&other), "that one is elsewhere");
        dialer.follow(&HashSet::from([&next, &other]));
        assert_eq!(dialer.told, Some(next));
    }
}
