//! Who adopts first: rendezvous hashing, so that survivors share the load and agree without talking.
//!
//! Nothing but speed rests on it. The hash is written out here, because every process of a cluster
//! has to come to the same order, whatever version of Rust built it.

use paceline_model::{QueryId, SchedulerId};

fn weight(query: QueryId, scheduler: &SchedulerId) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = query.to_bytes();
    let bytes = bytes.iter().chain(scheduler.as_str().as_bytes());
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    // The high bits of FNV hardly depend on the last bytes; this mixes them.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The schedulers in the order in which they should try to adopt the query.
pub fn ranked<'a>(
    query: QueryId,
    live: impl IntoIterator<Item = &'a SchedulerId>,
) -> Vec<&'a SchedulerId> {
    let mut order: Vec<_> = live.into_iter().collect();
    order.sort_by_key(|scheduler| (std::cmp::Reverse(weight(query, scheduler)), *scheduler));
    order
}

/// How many schedulers should try before `me`. One that is not among the live comes last.
pub fn rank<'a>(
    query: QueryId,
    me: &SchedulerId,
    live: impl IntoIterator<Item = &'a SchedulerId>,
) -> usize {
    let mine = (std::cmp::Reverse(weight(query, me)), me);
    let mut before = 0;
    let mut others = 0;
    let mut listed = false;
    for scheduler in live {
        listed |= scheduler == me;
        others += 1;
        before += usize::from((std::cmp::Reverse(weight(query, scheduler)), scheduler) < mine);
    }
    if listed { before } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::testing::{query, scheduler};

    #[test]
    fn the_order_is_frozen() {
        let live = ["a", "b", "c"].map(scheduler);
        let first: String = (0..16)
            .map(|n| ranked(query(n), &live)[0].to_string())
            .collect();
        assert_eq!(first, "ccccababccacbabc");
    }

    #[test]
    fn the_load_is_shared_and_moves_as_little_as_it_can() {
        let live = ["a", "b", "c", "d"].map(scheduler);
        let mut shares = [0; 4];
        for n in 0..4000 {
            let order = ranked(query(n), &live);
            for (place, scheduler) in order.iter().enumerate() {
                assert_eq!(rank(query(n), scheduler, &live), place);
            }
            let heir = live.iter().position(|s| s == order[0]).unwrap();
            shares[heir] += 1;
            // Without the last one, only its own queries go elsewhere.
            let fewer = ranked(query(n), &live[..3]);
            if heir != 3 {
                assert_eq!(fewer[0], order[0]);
            }
        }
        assert!(shares.iter().all(|s| (850..1150).contains(s)), "{shares:?}");
    }

    #[test]
    fn who_is_not_listed_comes_last() {
        let live = ["a", "b"].map(scheduler);
        assert_eq!(rank(query(1), &scheduler("z"), &live), 2);
    }
}
