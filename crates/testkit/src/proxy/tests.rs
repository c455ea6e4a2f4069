use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A server that sends back what it gets.
async fn echo() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn talks(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && &answer == b"ping"
}

#[tokio::test]
async fn bytes_flow_until_they_are_cut() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(talks(&mut stream).await);
    assert_eq!((proxy.connections(), proxy.forwarded_bytes()), (1, 8));

    proxy.cut_once();
    assert!(!talks(&mut stream).await);
    assert_eq!(proxy.cut_connections(), 1);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(talks(&mut next).await);

    proxy.set(Traffic::Cut);
    assert!(!talks(&mut next).await);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!talks(&mut refused).await);
}

#[tokio::test]
async fn a_stall_keeps_the_connection_and_loses_nothing() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(talks(&mut stream).await);
    proxy.set(Traffic::Stalls);
    let waiting = timeout(Duration::from_millis(100), talks(&mut stream)).await;
    assert!(waiting.is_err(), "something came through");
    assert_eq!(proxy.held_back(), 1);
    proxy.set(Traffic::Flows);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    assert_eq!(proxy.cut_connections(), 0);
}

/// What holds for one process holds for its connections alone, for those that it makes later as well.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_of_one_process_are_cut_and_those_of_others_flow() {
    let callers = Arc::new(Callers::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = FaultProxy::start_for(any, echo().await, Arc::clone(&callers));
    let proxy = proxy.await.unwrap();
    let set = |process: u32, traffic: Traffic| {
        callers.set(process, traffic);
        proxy.set_of(process, &connections_of(process).unwrap(), traffic);
    };
    let connect = || async { TcpStream::connect(proxy.address()).await.unwrap() };
    let mut other = tokio::process::Command::new("cat");
    let other = other.stdin(std::process::Stdio::piped()).kill_on_drop(true);
    let other = other.spawn().unwrap();
    let own = std::process::id();
    let mut stream = connect().await;
    assert!(talks(&mut stream).await);
    assert_eq!(proxy.open().count, 1);

    set(other.id().unwrap(), Traffic::Cut);
    assert!(talks(&mut stream).await, "it is not of that process");
    assert!(talks(&mut connect().await).await);
    set(own, Traffic::Cut);
    assert!(!talks(&mut stream).await);
    assert!(!talks(&mut connect().await).await, "a new one");
    let open = || proxy.open_of(own, &connections_of(own).unwrap());
    assert_eq!(open(), Open::default());

    set(own, Traffic::Flows);
    let mut stream = connect().await;
    assert!(talks(&mut stream).await);
    set(own, Traffic::Stalls);
    stream.write_all(b"ping").await.unwrap();
    let held_up = timeout(Duration::from_secs(10), async {
        while open().held_up == 0 {
            tokio::task::yield_now().await;
        }
    });
    held_up.await.unwrap();
    set(own, Traffic::Flows);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!((&answer, open().held_up), (b"ping", 0));
}
