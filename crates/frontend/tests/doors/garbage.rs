//! Nonsense on both ports: an error or a closed connection, and the next client is served as if
//! nothing had been.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{Any, CommandGetTables, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use futures::stream;
use prost::Message;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::house::{House, fetch};

/// Sends the bytes; returns what comes back until the server closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    // A reset is as good as an end.
    let _ = read.expect("the server neither answers nor closes");
    answer
}

async fn still_serves(house: &House) {
    let mut client = house.sql().await;
    let info = client.execute("numbers 1".to_string(), None).await.unwrap();
    fetch(&mut client, &info).await.unwrap();
    assert_eq!(house.post("numbers 1").await.status().as_u16(), 200);
}

#[tokio::test]
async fn bytes_that_are_no_protocol_close_the_connection() {
    let house = House::open().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut broken_frame = preface.to_vec();
    broken_frame.extend([0xff; 64]);
    let mut random = Vec::new();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..4096 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        random.push((state >> 56) as u8);
    }
    let long_line = [b"GET /".as_slice(), &[b'a'; 1 << 20]].concat();
    for bytes in [
        &b""[..],
        b"\0",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        preface,
        &broken_frame,
        &random,
        &long_line,
        b"POST /v1/sql HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /v1/sql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        exchange(house.flight, bytes).await;
        exchange(house.http, bytes).await;
    }
    still_serves(&house).await;
}

#[tokio::test]
async fn tickets_that_are_none_are_refused() {
    let house = House::open().await;
    let mut client = FlightServiceClient::new(house.channel().await);
    let handle = |bytes: &'static [u8]| TicketStatementQuery {
        statement_handle: bytes.into(),
    };
    let unknown = Any {
        type_url: "type.googleapis.com/arrow.flight.protocol.sql.CommandDance".to_string(),
        value: Default::default(),
    };
    for (ticket, code) in [
        (vec![], Code::InvalidArgument),
        (b"garbage".to_vec(), Code::InvalidArgument),
        (vec![0xff; 100], Code::InvalidArgument),
        (handle(b"").as_any().encode_to_vec(), Code::InvalidArgument),
        (
            handle(b"\xff\xff").as_any().encode_to_vec(),
            Code::InvalidArgument,
        ),
        (
            handle(b"\x08\x07").as_any().encode_to_vec(),
            Code::InvalidArgument,
        ),
        (unknown.encode_to_vec(), Code::Unimplemented),
    ] {
        let refused = client.do_get(Ticket::new(ticket)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(!refused.message().is_empty());
    }
    still_serves(&house).await;
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused() {
    let house = House::open().await;
    let mut client = FlightServiceClient::new(house.channel().await);
    for cmd in [&b""[..], b"\xff\xff", b"no such statement"] {
        let descriptor = FlightDescriptor::new_cmd(cmd);
        let refused = client.get_flight_info(descriptor).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for (action, body) in [
        ("Dance", &b""[..]),
        ("CreatePreparedStatement", b"\xff"),
        ("CancelFlightInfo", b"\xff"),
        ("CancelFlightInfo", b""),
        ("CancelQuery", b""),
        ("SetSessionOptions", b"\xff"),
        ("ClosePreparedStatement", b"garbage"),
    ] {
        let refused = client
            .do_action(Action::new(action, body))
            .await
            .unwrap_err();
        let expected = [Code::InvalidArgument, Code::Unimplemented];
        assert!(expected.contains(&refused.code()), "{action}: {refused}");
    }
    let no_put = CommandGetTables::default().as_any().encode_to_vec();
    for messages in [
        vec![],
        vec![FlightData::new()],
        vec![FlightData::new().with_descriptor(FlightDescriptor::new_cmd("\u{7f}"))],
        vec![FlightData::new().with_descriptor(FlightDescriptor::new_cmd(no_put))],
    ] {
        let refused = client.do_put(stream::iter(messages)).await.unwrap_err();
        let expected = [Code::InvalidArgument, Code::Unimplemented];
        assert!(expected.contains(&refused.code()), "{refused}");
    }
    still_serves(&house).await;
}

#[tokio::test]
async fn a_call_of_another_service_is_unimplemented() {
    let house = House::open().await;
    let mut grpc = tonic::client::Grpc::new(house.channel().await);
    grpc.ready().await.unwrap();
    let path = "/some.other.Service/Call".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Any, Any>::default();
    let request = tonic::Request::new(Any::default());
    let refused = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}
