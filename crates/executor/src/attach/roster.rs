//! Where schedulers are, as far as is known: which names to look up, and which addresses to dial.
//!
//! Plain state without I/O. A name of the configuration may stand for any number of schedulers; every
//! scheduler tells of all others, each by a name of its own. None of this is news for ever: a name may not
//! be known yet, may stand for something else later, or may be left out by whoever answers for it while its
//! scheduler is alive. So names are looked up again and again, and who answered at an address counts for
//! more than whether it is still listed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use paceline_model::SchedulerId;
use paceline_proto::cluster;

/// A scheduler as another one tells of it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Told {
    scheduler: SchedulerId,
    /// `host:port` of its cluster port.
    name: String,
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    configured: HashSet<String>,
    /// By teller, whom it tells of.
    told: HashMap<SchedulerId, HashSet<Told>>,
    /// What names stood for when they were looked up last.
    addresses: HashMap<String, Vec<SocketAddr>>,
}

impl Roster {
    pub(super) fn new(configured: Vec<String>) -> Self {
        Roster {
            configured: configured.into_iter().collect(),
            ..Roster::default()
        }
    }

    /// A name stands for these addresses now.
    pub(super) fn resolved(&mut self, name: String, addresses: Vec<SocketAddr>) {
        self.addresses.insert(name, addresses);
    }

    /// A scheduler says who is there.
    pub(super) fn told_by(&mut self, teller: SchedulerId, members: Vec<cluster::Member>) {
        let told = members.into_iter().map(|member| Told {
            scheduler: SchedulerId::new(member.scheduler),
            name: member.cluster_address,
        });
        self.told.insert(teller, told.collect());
    }

    /// What a scheduler said counts while it is there to say otherwise. With the last one nothing is
    /// forgotten: any one may be the first to come back.
    pub(super) fn forget(&mut self, is_attached: impl Fn(&SchedulerId) -> bool) {
        self.told.retain(|teller, _| is_attached(teller));
        if self.told.is_empty() {
            return;
        }
        let told = self.told.values().flatten().map(|told| &told.name);
        let named: HashSet<&String> = told.chain(&self.configured).collect();
        self.addresses.retain(|name, _| named.contains(name));
    }

    /// The names to look up: those of the configuration, behind which schedulers come and go, and those of
    /// schedulers that are told of and not attached.
    pub(super) fn to_look_up(&self, is_attached: impl Fn(&SchedulerId) -> bool) -> HashSet<String> {
        let told = self.told.values().flatten();
        let missing = told.filter(|told| !is_attached(&told.scheduler));
        let missing = missing.map(|told| &told.name);
        missing.chain(&self.configured).cloned().collect()
    }

    /// All addresses that names stand for, with who is told to be there. Behind a name of the configuration
    /// may be anybody.
    pub(super) fn listed(&self) -> HashMap<SocketAddr, Option<SchedulerId>> {
        let of = |name: &String| self.addresses.get(name).into_iter().flatten().copied();
        let mut listed = HashMap::new();
        for told in self.told.values().flatten() {
            let addresses = of(&told.name);
            listed.extend(addresses.map(|address| (address, Some(told.scheduler.clone()))));
        }
        for name in &self.configured {
            listed.extend(of(name).map(|address| (address, None)));
        }
        listed
    }

    /// Whether an address is to be dialed further, at which `reached` answered last: while a name stands
    /// for it, or somebody tells of that scheduler, by whatever name.
    pub(super) fn wants(&self, address: &SocketAddr, reached: Option<&SchedulerId>) -> bool {
        let mut listed = self.addresses.values().flatten();
        let mut told = self.told.values().flatten();
        self.told.is_empty()
            || listed.any(|listed| listed == address)
            || told.any(|told| Some(&told.scheduler) == reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 50052))
    }

    fn scheduler(name: &str) -> SchedulerId {
        SchedulerId::new(name)
    }

    fn member(scheduler: &str, name: &str) -> cluster::Member {
        cluster::Member {
            scheduler: scheduler.to_string(),
            cluster_address: name.to_string(),
            ..cluster::Member::default()
        }
    }

    fn names(all: &[&str]) -> HashSet<String> {
        all.iter().map(ToString::to_string).collect()
    }

    /// One that is configured with the name `all:1`.
    fn roster() -> Roster {
        Roster::new(vec!["all:1".to_string()])
    }

    #[test]
    fn who_was_reached_is_dialed_while_anybody_tells_of_it_whatever_names_stand_for() {
        let mut roster = roster();
        let [a, b] = ["a", "b"].map(scheduler);
        roster.resolved("all:1".to_string(), vec![address(1), address(2)]);
        roster.told_by(a.clone(), vec![member("a", "a:1"), member("b", "b:1")]);
        roster.resolved("all:1".to_string(), vec![]);
        roster.forget(|_| true);
        assert!(roster.wants(&address(1), Some(&a)));
        assert!(
            roster.wants(&address(2), Some(&b)),
            "another one tells of it"
        );
        assert!(
            !roster.wants(&address(2), None),
            "nobody ever answered there"
        );
        roster.told_by(a.clone(), vec![member("a", "a:1")]);
        assert!(!roster.wants(&address(2), Some(&b)), "it is over");
    }

    #[test]
    fn a_name_is_looked_up_for_as_long_as_its_scheduler_is_told_of_and_not_attached() {
        let mut roster = roster();
        let a = scheduler("a");
        roster.told_by(a.clone(), vec![member("a", "a:1"), member("b", "b:1")]);
        let only_a = |scheduler: &SchedulerId| *scheduler == a;
        for _ in 0..100 {
            assert_eq!(roster.to_look_up(only_a), names(&["all:1", "b:1"]));
        }
        // It may have another address by now.
        roster.resolved("b:1".to_string(), vec![address(2)]);
        assert_eq!(roster.to_look_up(only_a), names(&["all:1", "b:1"]));
        assert_eq!(roster.to_look_up(|_| true), names(&["all:1"]));
        roster.told_by(a.clone(), vec![member("a", "a:1")]);
        assert_eq!(roster.to_look_up(only_a), names(&["all:1"]));
    }

    #[test]
    fn every_address_of_a_name_is_dialed() {
        let mut roster = roster();
        roster.told_by(scheduler("a"), vec![member("b", "b:1")]);
        roster.resolved("b:1".to_string(), vec![address(1), address(2)]);
        roster.resolved("all:1".to_string(), vec![address(2), address(3)]);
        let listed = roster.listed();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed[&address(1)], Some(scheduler("b")));
        assert_eq!(listed[&address(2)], None, "anybody may be there");
        assert_eq!(listed[&address(3)], None);
    }

    #[test]
    fn a_scheduler_that_goes_on_under_another_id_is_dialed_where_it_was() {
        let mut roster = roster();
        let [a, b] = ["a", "b"].map(scheduler);
        roster.told_by(b.clone(), vec![member("a", "a:1"), member("b", "b:1")]);
        roster.resolved("a:1".to_string(), vec![address(1)]);
        roster.told_by(b.clone(), vec![member("c", "a:1"), member("b", "b:1")]);
        roster.forget(|_| true);
        assert!(roster.wants(&address(1), Some(&a)), "its name is told of");
        roster.told_by(b.clone(), vec![member("b", "b:1")]);
        roster.forget(|_| true);
        assert!(!roster.wants(&address(1), Some(&a)));
    }

    #[test]
    fn while_nobody_is_attached_nothing_is_given_up() {
        let mut roster = roster();
        let a = scheduler("a");
        roster.told_by(a.clone(), vec![member("a", "a:1"), member("b", "b:1")]);
        roster.resolved("b:1".to_string(), vec![address(2)]);
        roster.forget(|_| false);
        assert!(roster.wants(&address(2), None));
        assert!(roster.wants(&address(7), Some(&a)));
    }
}
