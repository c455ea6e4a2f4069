//! Compiles the protocol files with a compiler written in Rust, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = protox::compile(
        [
            "paceline/cluster/v1/cluster.proto",
            "paceline/exchange/v1/exchange.proto",
            "paceline/state/v1/journal.proto",
        ],
        [root],
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
