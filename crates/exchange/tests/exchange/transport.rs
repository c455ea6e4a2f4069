//! Connections that break, holders that die, and bytes that are no protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use paceline_exchange::{PeerOptions, Peers};
use paceline_model::{ErrorClass, OutputId, OutputLocation, PartitionRange};
use paceline_proto::exchange;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use crate::support::{
    Holder, batch, lost, numbers, numbers_in, output, partition, query, reader, reader_over,
    schema, until, within,
};

const RANGE: PartitionRange = PartitionRange { first: 0, count: 1 };

/// 100 frames that hardly compress.
async fn one_output(holder: &Holder) -> OutputId {
    let id = output(query(), 0);
    let writer = holder.writer(id, RANGE);
    for round in 0..100 {
        writer
            .write(0, batch(round * 8192..(round + 1) * 8192))
            .await
            .unwrap();
    }
    writer.finish().await.unwrap();
    id
}

/// Passes bytes on between a reader and a holder, until told otherwise.
struct Proxy {
    address: String,
    /// Cuts every connection and takes no new one.
    down: CancellationToken,
    /// Connections taken so far.
    taken: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Each of the first connections is cut once so many bytes have come from the holder.
    async fn start(to: &str, cuts: Vec<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (down, taken) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let (stop, count, to) = (down.clone(), Arc::clone(&taken), to.to_string());
        let task = tokio::spawn(async move {
            let mut cuts = cuts.into_iter();
            loop {
                // Cancel safety: a connection that is not taken is refused.
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                count.fetch_add(1, Ordering::SeqCst);
                let cut = cuts.next().unwrap_or(u64::MAX);
                tokio::spawn(pass(accepted.unwrap().0, to.clone(), cut, stop.clone()));
            }
        });
        Proxy {
            address,
            down,
            taken,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn location(&self, holder: &Holder, id: OutputId) -> OutputLocation {
        OutputLocation {
            address: self.address.clone(),
            ..holder.location(id, RANGE)
        }
    }
}

async fn pass(client: TcpStream, to: String, cut: u64, stop: CancellationToken) {
    let server = TcpStream::connect(to).await.unwrap();
    let (client_read, mut client_write) = client.into_split();
    let (server_read, mut server_write) = server.into_split();
    let mut client_read = client_read;
    let up = async { tokio::io::copy(&mut client_read, &mut server_write).await };
    let mut limited = server_read.take(cut);
    let down = async { tokio::io::copy(&mut limited, &mut client_write).await };
    // Cancel safety: whatever ends first ends the connection, which is the purpose.
    tokio::select! {
        _ = up => {}
        _ = down => {}
        () = stop.cancelled() => {}
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_where_it_was() {
    let holder = Holder::start("h").await;
    let id = one_output(&holder).await;
    let proxy = Proxy::start(&holder.address, vec![300_000, 500_000, 2_000_000]).await;
    let reader = reader(id.query, vec![proxy.location(&holder, id)], RANGE, 4 << 20);
    let read = numbers(partition(&reader, 0)).await.unwrap();
    assert!(read.into_iter().eq(0..819_200));
    assert_eq!(proxy.taken.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_is_a_loss() {
    let holder = Holder::start("h").await;
    let id = one_output(&holder).await;
    // The second one breaks before anything came of it.
    let proxy = Proxy::start(&holder.address, vec![300_000, 0, 0, 0]).await;
    let reader = reader(id.query, vec![proxy.location(&holder, id)], RANGE, 1 << 20);
    let (unreachable, reason) = lost(numbers(partition(&reader, 0)).await, 0);
    assert!(unreachable);
    assert!(reason.contains(&proxy.address), "{reason}");
    assert!(proxy.taken.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn a_holder_that_goes_away_in_the_middle_is_a_loss() {
    let holder = Holder::start("h").await;
    let id = one_output(&holder).await;
    let proxy = Proxy::start(&holder.address, vec![]).await;
    let reader = reader(id.query, vec![proxy.location(&holder, id)], RANGE, 1);
    let mut rows = partition(&reader, 0);
    assert!(within(rows.try_next()).await.unwrap().is_some());
    proxy.down.cancel();
    let result = numbers(rows).await;
    let error = result.as_ref().unwrap_err().to_query_error();
    assert_eq!(error.class, ErrorClass::OutputLost);
    assert!(error.lost[0].unreachable);
    let (unreachable, _) = lost(result, 0);
    assert!(unreachable);
}

#[tokio::test]
async fn nobody_at_the_address_is_a_loss_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    for address in [nobody.as_str(), "no such host:1", ""] {
        let at = OutputLocation {
            address: address.to_string(),
            ..holder.location(id, RANGE)
        };
        let begun = Instant::now();
        let reader = reader(id.query, vec![at], RANGE, 1 << 20);
        let (unreachable, _) = lost(numbers(partition(&reader, 0)).await, 0);
        assert!(unreachable);
        assert!(begun.elapsed() < Duration::from_secs(20), "{address}");
    }
}

#[tokio::test]
async fn a_holder_that_falls_silent_is_noticed() {
    // Takes connections, reads what comes, and never answers: like a process that was stopped.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            silent.push(listener.accept().await.unwrap());
        }
    });
    let _task: AbortOnDropHandle<()> = AbortOnDropHandle::new(task);
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    let at = OutputLocation {
        address,
        ..holder.location(id, RANGE)
    };
    let reader = reader(id.query, vec![at], RANGE, 1 << 20);
    let (unreachable, _) = lost(numbers(partition(&reader, 0)).await, 0);
    assert!(unreachable);
}

#[tokio::test]
async fn dropping_a_stream_ends_it_at_the_holder() {
    let holder = Holder::start("h").await;
    let id = one_output(&holder).await;
    let serving = || holder.metric("paceline_exchange_serving_streams", "");
    let reader = reader(id.query, vec![holder.location(id, RANGE)], RANGE, 1);
    let mut rows = partition(&reader, 0);
    assert_eq!(serving(), 0, "nothing is opened before the first poll");
    assert!(within(rows.try_next()).await.unwrap().is_some());
    assert_eq!(serving(), 1);
    // All partitions of the range were read or dropped: the reader itself may live on.
    drop(rows);
    until("the stream ends", || serving() == 0).await;
    // A second read of the partition is a stream of its own.
    let mut rows = partition(&reader, 0);
    let first = within(rows.try_next()).await.unwrap().unwrap();
    assert_eq!(numbers_in(&first)[0], 0);
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let holder = Holder::start("h").await;
    let id = one_output(&holder).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 5000],
        b"\x16\x03\x01",
    ] {
        let mut connection = TcpStream::connect(&holder.address).await.unwrap();
        connection.write_all(garbage).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset, but not kept open.
        let _ = within(connection.read_to_end(&mut answer)).await;
    }
    let reader = reader(id.query, vec![holder.location(id, RANGE)], RANGE, 1 << 20);
    assert_eq!(numbers(partition(&reader, 0)).await.unwrap().len(), 819_200);
}

fn request(set: impl FnOnce(&mut exchange::Request)) -> FlightData {
    let mut request = exchange::Request {
        query: paceline_proto::query_bytes(query()),
        partitions: 1,
        outputs: vec![exchange::OutputRef::default()],
        ..exchange::Request::default()
    };
    set(&mut request);
    let descriptor = FlightDescriptor::new_cmd(request.encode_to_vec());
    FlightData::new().with_descriptor(descriptor)
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_name() {
    let holder = Holder::start("h").await;
    let url = format!("http://{}", holder.address);
    let channel = tonic::transport::Endpoint::from_shared(url)
        .unwrap()
        .connect_lazy();
    let mut client = FlightServiceClient::new(channel);
    let metadata = |bytes: &'static [u8]| FlightData::new().with_app_metadata(bytes);
    let nonsense = FlightDescriptor::new_cmd(&b"\xff\xff\xff"[..]);
    let outside = exchange::Credit {
        partition: 77,
        bytes: 1,
    };
    let cases: Vec<(Vec<FlightData>, &str)> = vec![
        (vec![], "no descriptor"),
        (vec![metadata(b"x")], "no descriptor"),
        (
            vec![FlightData::new().with_descriptor(nonsense)],
            "malformed request",
        ),
        (
            vec![request(|r| r.query = (&b"short"[..]).into())],
            "query id",
        ),
        (vec![request(|r| r.partitions = u32::MAX)], "at most"),
        (
            vec![request(|r| r.first_partition = u32::MAX)],
            "partitions",
        ),
        (
            vec![request(|_| {}), metadata(b"\xff\xff")],
            "malformed credit",
        ),
        (
            vec![
                request(|_| {}),
                FlightData::new().with_app_metadata(outside.encode_to_vec()),
            ],
            "not in the request",
        ),
    ];
    for (messages, expected) in cases {
        let outbound = futures::stream::iter(messages);
        let status = match within(client.do_exchange(outbound)).await {
            Err(status) => status,
            Ok(response) => within(response.into_inner().message()).await.unwrap_err(),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(expected), "{status}");
    }
    let status = client.do_get(Ticket::new("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("Flight SQL port"), "{status}");
}

#[tokio::test]
async fn a_holder_that_sends_nonsense_is_refused() {
    // A data plane of another kind altogether: gRPC, but nothing of ours is served.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder()
        .add_routes(tonic::service::Routes::default())
        .serve_with_incoming(incoming);
    let _task = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    let at = OutputLocation {
        address: address.clone(),
        ..holder.location(id, RANGE)
    };
    let reader = reader(id.query, vec![at], RANGE, 1 << 20);
    let error = numbers(partition(&reader, 0)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug);
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn streams_may_live_on_another_runtime_than_their_readers() {
    let threads = |name: &str| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .unwrap()
    };
    let (network, work) = (threads("network"), threads("work"));
    let (holder, id) = network.block_on(async {
        let holder = Holder::start("h").await;
        let id = one_output(&holder).await;
        (holder, id)
    });
    let peers = Peers::on_runtime(PeerOptions::default(), network.handle().clone());
    let at = vec![holder.location(id, RANGE)];
    let reader = reader_over(peers.clone(), schema(), id.query, at, RANGE, 1 << 20);
    let read = work.block_on(async { numbers(partition(&reader, 0)).await.unwrap() });
    assert!(read.into_iter().eq(0..819_200));
    // Nothing of the connection is lost with the readers' runtime.
    work.shutdown_background();
    let work = threads("more work");
    let at = vec![holder.location(id, RANGE)];
    let reader = reader_over(peers.clone(), schema(), id.query, at, RANGE, 1 << 20);
    let read = work.block_on(async { numbers(partition(&reader, 0)).await.unwrap() });
    assert_eq!(read.len(), 819_200);
    assert!(format!("{peers:?}").contains("connections: 1"), "{peers:?}");
}

#[tokio::test]
async fn readers_share_connections_and_idle_ones_are_let_go() {
    let holders = [Holder::start("a").await, Holder::start("b").await];
    let ids = [one_output(&holders[0]).await, one_output(&holders[1]).await];
    let mut proxies = Vec::new();
    for holder in &holders {
        proxies.push(Proxy::start(&holder.address, vec![]).await);
    }
    let options = PeerOptions {
        idle: Duration::ZERO,
        ..PeerOptions::default()
    };
    let peers = Peers::new(options);
    for _ in 0..3 {
        let at = vec![proxies[0].location(&holders[0], ids[0])];
        let reader = reader_over(peers.clone(), schema(), ids[0].query, at, RANGE, 1 << 20);
        assert_eq!(numbers(partition(&reader, 0)).await.unwrap().len(), 819_200);
    }
    assert_eq!(proxies[0].taken.load(Ordering::SeqCst), 1);
    // Another address is asked for: the first has been idle for longer than allowed.
    let at = vec![proxies[1].location(&holders[1], ids[1])];
    let reader = reader_over(peers.clone(), schema(), ids[1].query, at, RANGE, 1 << 20);
    assert_eq!(numbers(partition(&reader, 0)).await.unwrap().len(), 819_200);
    assert!(format!("{peers:?}").contains("connections: 1"), "{peers:?}");
}
