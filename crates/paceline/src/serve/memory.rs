use std::fs;

use paceline_model::ByteSize;

/// What to go by where the system does not say: small enough for any machine.
const UNKNOWN: u64 = 2 << 30;

/// How much memory this process may have: the machine's, or less if its control group says so.
pub(crate) fn available_memory() -> ByteSize {
    let group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = group
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| machine_memory(&text))
        .unwrap_or(UNKNOWN);
    ByteSize(limit.map_or(machine, |limit| limit.min(machine)))
}

fn machine_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let text = "MemTotal:       24653012 kB\nMemFree: 1 kB\n";
        assert_eq!(machine_memory(text), Some(24_653_012 << 10));
        assert_eq!(machine_memory("MemFree: 1 kB\n"), None);
        assert!(available_memory().0 > 64 << 20);
    }
}
