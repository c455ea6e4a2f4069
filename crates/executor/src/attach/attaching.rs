//! Dials wherever a scheduler may be, and looks up where that is.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use paceline_model::SchedulerId;
use paceline_proto::cluster;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dial::keep_attached;
use super::pause::Pause;
use super::roster::Roster;
use crate::node::Node;

/// How often names are looked up again: schedulers may come and go behind them.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

/// What bears on who is dialed.
#[derive(Debug)]
pub(super) enum Heard {
    /// A name stands for these addresses now.
    Resolved(String, Vec<SocketAddr>),
    /// A scheduler answered at that address.
    Reached(SocketAddr, SchedulerId),
    /// A scheduler says who is there.
    Members(SchedulerId, Vec<cluster::Member>),
}

/// Keeps a stream to every scheduler until the node stops.
pub(crate) async fn attach_to_all(node: Arc<Node>, configured: Vec<String>) {
    let (heard, mut news) = mpsc::channel(64);
    let mut attaching = Attaching::new(node.clone(), configured, heard);
    #[expect(
        clippy::disallowed_methods,
        reason = "names are looked up now and then: nobody tells what has become of one"
    )]
    let mut again = tokio::time::interval(LOOK_UP_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Cancel safety: `tick` and `recv` lose nothing when they are dropped, and nothing is wanted after a
    // stop.
    loop {
        tokio::select! {
            () = node.stop.cancelled() => break,
            _ = again.tick() => attaching.look_up(),
            Some(heard) = news.recv() => attaching.hear(heard),
        }
    }
    attaching.look_ups.clear();
    attaching.tasks.close();
    attaching.tasks.wait().await;
}

struct Attaching {
    node: Arc<Node>,
    heard: mpsc::Sender<Heard>,
    tasks: TaskTracker,
    roster: Roster,
    /// By name; each until it has its answer.
    look_ups: HashMap<String, AbortOnDropHandle<()>>,
    dialers: HashMap<SocketAddr, Dialer>,
}

struct Dialer {
    /// Who answered there last.
    reached: Option<SchedulerId>,
    end: CancellationToken,
}

impl Attaching {
    fn new(node: Arc<Node>, configured: Vec<String>, heard: mpsc::Sender<Heard>) -> Self {
        Attaching {
            node,
            heard,
            tasks: TaskTracker::new(),
            roster: Roster::new(configured),
            look_ups: HashMap::new(),
            dialers: HashMap::new(),
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Resolved(name, addresses) => {
                self.look_ups.remove(&name);
                self.roster.resolved(name, addresses);
            }
            Heard::Reached(address, scheduler) => {
                if let Some(dialer) = self.dialers.get_mut(&address) {
                    dialer.reached = Some(scheduler);
                }
            }
            Heard::Members(teller, members) => {
                self.roster.told_by(teller, members);
                self.look_up();
            }
        }
        self.settle();
    }

    /// Has all names looked up that may stand for something else by now, and no others.
    fn look_up(&mut self) {
        let names = {
            let book = self.node.book.lock();
            self.roster.to_look_up(|it| book.is_attached(it))
        };
        self.look_ups.retain(|name, _| names.contains(name));
        for name in names {
            self.look_ups.entry(name).or_insert_with_key(|name| {
                let mut pause = Pause::default();
                let pause = move || pause.next();
                let look_up = look_up(name.clone(), resolve, pause, self.heard.clone());
                AbortOnDropHandle::new(self.tasks.spawn(look_up))
            });
        }
    }

    /// Has every address dialed that is to be, and no other.
    fn settle(&mut self) {
        {
            let book = self.node.book.lock();
            self.roster.forget(|it| book.is_attached(it));
        }
        for (address, expected) in self.roster.listed() {
            self.dial(address, expected);
        }
        let roster = &self.roster;
        self.dialers.retain(|address, dialer| {
            let wanted = roster.wants(address, dialer.reached.as_ref());
            if !wanted {
                dialer.end.cancel();
            }
            wanted
        });
    }

    fn dial(&mut self, address: SocketAddr, expected: Option<SchedulerId>) {
        self.dialers.entry(address).or_insert_with(|| {
            let end = self.node.stop.child_token();
            let (node, heard) = (self.node.clone(), self.heard.clone());
            let dialer = keep_attached(node, address, expected, heard, end.clone());
            self.tasks.spawn(dialer);
            Dialer { reached: None, end }
        });
    }
}

async fn resolve(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host(name).await?.collect())
}

/// Looks a name up until there is an answer, however long that takes: a name may be known only minutes
/// after its scheduler is there, and longer to those who asked too early.
async fn look_up<F>(
    name: String,
    resolve: impl Fn(String) -> F,
    mut pause: impl FnMut() -> Duration,
    heard: mpsc::Sender<Heard>,
) where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    loop {
        match resolve(name.clone()).await {
            Ok(addresses) => {
                let _ = heard.send(Heard::Resolved(name, addresses)).await;
                return;
            }
            Err(error) => {
                tracing::warn!("cannot look up the scheduler address '{name}': {error}");
            }
        }
        #[expect(clippy::disallowed_methods, reason = "after a failure")]
        tokio::time::sleep(pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const ALL: &str = "all:1";

    fn here() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    /// One that is configured with a name for all schedulers.
    fn attaching() -> (Attaching, mpsc::Receiver<Heard>) {
        let (heard, news) = mpsc::channel(64);
        let attaching = Attaching::new(Node::idle(), vec![ALL.to_string()], heard);
        (attaching, news)
    }

    fn members(by: &SchedulerId, all: &[&SchedulerId]) -> Heard {
        let member = |scheduler: &&SchedulerId| cluster::Member {
            scheduler: scheduler.to_string(),
            cluster_address: format!("{scheduler}:1"),
            ..cluster::Member::default()
        };
        Heard::Members(by.clone(), all.iter().map(member).collect())
    }

    #[tokio::test]
    async fn a_stream_is_not_cut_because_a_name_does_not_stand_for_its_address_any_more() {
        let (mut attaching, _news) = attaching();
        let [a, b] = ["a", "b"].map(SchedulerId::new);
        for scheduler in [&a, &b] {
            attaching.node.book.lock().attach(scheduler.clone());
        }
        attaching.hear(Heard::Resolved(ALL.to_string(), vec![here()]));
        attaching.hear(Heard::Reached(here(), a.clone()));
        attaching.hear(members(&b, &[&a, &b]));
        let end = attaching.dialers[&here()].end.clone();
        attaching.hear(Heard::Resolved(ALL.to_string(), vec![]));
        assert!(!end.is_cancelled(), "it is alive, says another one");
        attaching.hear(members(&b, &[&b]));
        assert!(end.is_cancelled(), "nobody names it");
        attaching.node.stop.cancel();
    }

    #[tokio::test]
    async fn names_are_looked_up_while_they_are_of_interest() {
        let (mut attaching, _news) = attaching();
        let [a, b] = ["a", "b"].map(SchedulerId::new);
        attaching.node.book.lock().attach(a.clone());
        attaching.hear(members(&a, &[&a, &b]));
        let mut names: Vec<_> = attaching.look_ups.keys().cloned().collect();
        names.sort();
        assert_eq!(names, [ALL, "b:1"]);
        attaching.hear(Heard::Resolved("b:1".to_string(), vec![here()]));
        assert!(attaching.dialers.contains_key(&here()));
        assert!(!attaching.look_ups.contains_key("b:1"), "it has its answer");
        attaching.look_up();
        assert!(attaching.look_ups.contains_key("b:1"), "it did not attach");
        attaching.node.book.lock().attach(b.clone());
        attaching.look_up();
        assert!(!attaching.look_ups.contains_key("b:1"));
        attaching.node.stop.cancel();
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_for_long_is_not_given_up() {
        let (heard, mut news) = mpsc::channel(1);
        let tries = &AtomicU32::new(0);
        let resolve = |_: String| async move {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0..100 => Err(io::Error::other("there is no such name")),
                _ => Ok(vec![here()]),
            }
        };
        look_up(ALL.to_string(), resolve, || Duration::ZERO, heard).await;
        let Some(Heard::Resolved(name, addresses)) = news.recv().await else {
            panic!("it was given up");
        };
        assert_eq!((name.as_str(), addresses), (ALL, vec![here()]));
    }
}
