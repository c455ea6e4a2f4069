use std::fs;

/// The most memory a process ever held (`VmHWM`), in bytes; none if it is gone, or where the
/// system does not say.
pub fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some_memory() {
        assert!(peak_memory(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(peak_memory(u32::MAX), None);
    }
}
