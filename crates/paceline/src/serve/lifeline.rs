use std::io::Read;

/// Ends this process as soon as its standard input does. A plain thread watches it, because that
/// works however busy or stuck everything else is, and however the parent died.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = [0; 64];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut nothing), Ok(length) if length > 0) {}
        #[expect(
            clippy::disallowed_methods,
            reason = "whoever this process served is gone, and nothing may delay its end"
        )]
        std::process::exit(0);
    });
}
