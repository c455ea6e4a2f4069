//! Schedulers and executors in one process, over real connections.

mod beacons;
mod cancels;
mod catalog;
mod commits;
mod elsewhere;
mod flight;
mod full;
mod garbage;
mod inherited;
mod inventories;
mod leaving;
mod lists;
mod metrics;
mod names;
mod nonsense;
mod partition;
mod port;
mod queries;
mod quiet;
mod slow_store;
mod starting;
mod support;
mod unreached;
mod unread;
mod uploads;
mod waiting;
