//! Tests of collectors that read the network's protocols.

use super::kernel::assert_cut_anywhere;
use super::*;

#[test]
fn a_file_of_the_network_cut_short_is_no_panic() {
    let snmp = "Ip: Forwarding InReceives\nIp: 1 2\nIcmp: InMsgs\nIcmp: 3\nTcp: MaxConn CurrEstab\nTcp: -1 4\nUdp: InErrors\nUdp: 5\n";
    let softnet = "0000000a 0000000b 0000000c 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000002 00000003 00000004 00000000 00000000\n";
    let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
    let tcp = format!("{head} 0: 0100007F:B0CD 00000000:0000 0A 00000000:00000001 00:0\n");
    let arp = "IP address       HW type     Flags       HW address            Mask     Device\n192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0\n";
    for (name, file, content) in [
        ("ip", "proc/1/net/snmp", snmp),
        ("icmp", "proc/1/net/snmp", snmp),
        ("tcp", "proc/1/net/snmp", snmp),
        ("udp", "proc/1/net/snmp", snmp),
        (
            "sockets",
            "proc/1/net/sockstat",
            "sockets: used 111\nTCP: inuse 47 mem 146\n",
        ),
        ("softnet", "proc/1/net/softnet_stat", softnet),
        ("tcp_states", "proc/1/net/tcp", &tcp),
        ("arp", "proc/1/net/arp", arp),
        (
            "conntrack",
            "proc/sys/net/netfilter/nf_conntrack_count",
            "812\n",
        ),
    ] {
        assert_cut_anywhere(name, &HostTree::new(), file, content);
    }
    let tree = HostTree::new().file("proc/sys/net/netfilter/nf_conntrack_count", "1\n");
    let stat = "entries  found new drop\n00000001 00000002 00000003 00000004\n";
    assert_cut_anywhere("conntrack", &tree, "proc/1/net/stat/nf_conntrack", stat);
    let tree = HostTree::new().file("proc/1/net/snmp", snmp);
    let snmp6 = "Ip6InReceives   \t1\nIcmp6InMsgs \t2\nUdp6InErrors\t3\n";
    for name in ["ip", "icmp", "udp"] {
        assert_cut_anywhere(name, &tree, "proc/1/net/snmp6", snmp6);
    }
}

#[test]
fn what_a_family_does_not_count_is_absent() {
    let tree = HostTree::new()
        .file("proc/1/net/snmp", "Ip: Forwarding InReceives\nIp: 2 10\n")
        .file(
            "proc/1/net/netstat",
            "IpExt: InOctets InCsumErrors\nIpExt: 20 30\n",
        )
        .file(
            "proc/1/net/snmp6",
            "Ip6InReceives 1\nIp6InOctets 2\nIp6InTooBigErrors 3\n",
        );
    let points = collect(&mut *collector("ip", &context_of(&tree)), 1).expect("collects");
    let [v4, v6] = points.as_slice() else {
        panic!("{points:?}");
    };
    assert_eq!(
        (v4.tag_text("family"), v6.tag_text("family")),
        (Some("ipv4"), Some("ipv6"))
    );
    assert_eq!(v4.value("forwarding"), Some(&Value::Bool(false)));
    assert_eq!(number(v4, "received_bytes"), 20.0);
    assert_eq!(number(v4, "received_checksum_errors"), 30.0);
    assert_eq!(v4.value("received_too_bigs"), None);
    assert_eq!(number(v6, "received_too_bigs"), 3.0);
    assert_eq!(v6.value("received_checksum_errors"), None);
}

#[test]
fn packets_of_a_core_are_counted_beyond_32_bits() {
    let line = |packets: u32, core: u32| {
        format!("{packets:08x} 00000000 00000001 0 0 0 0 0 0 0 0 00000002 {core:08x}\n")
    };
    let file = "proc/1/net/softnet_stat";
    let tree = HostTree::new().file(file, line(u32::MAX, 0) + &line(5, 2));
    let mut softnet = collector("softnet", &context_of(&tree));
    let mut packets = |stat: String| -> Vec<(String, f64)> {
        tree.write(file, stat);
        let points = collect(&mut *softnet, 1).expect("collects");
        points
            .iter()
            .map(|point| {
                let core = point.tag_text("cpu").expect("a core").to_owned();
                (core, number(point, "processed_packets"))
            })
            .collect()
    };
    let named = |core: &str, packets| (core.to_owned(), packets);
    let all = 4_294_967_295.0;
    assert_eq!(
        packets(line(u32::MAX, 0) + &line(5, 2)),
        [named("0", all), named("2", 5.0), named("total", all + 5.0)]
    );
    assert_eq!(
        packets(line(9, 0)),
        [named("0", all + 10.0), named("total", all + 15.0)],
        "core 0 wrapped, core 2 is away"
    );
}

#[test]
fn sockets_are_counted_in_a_table_of_any_length() {
    let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
    let mut table = head.to_owned();
    for number in 0..2_000 {
        let state = if number % 2 == 0 { 1 } else { 6 };
        table += &format!(
            "{number:4}: 0100007F:B0CD 0100007F:0001 {state:02X} 00000002:00000003 00:00000000 0     0        0 298175 1 000000007167c63c 100 0 0 10 0\n"
        );
    }
    table += "2000: 0100007F:B0CD 00000000:0000 0A 00000080:00000007 00:0\n";
    table += "2001: 0100007F:B0CD 00000000:0000 0C 00000000:00000000 00:0\n";
    table += "2002: 0100007F:B0CD 00000000:0000 63 00000000:00000000 00:0\n";
    let tree = HostTree::new().file("proc/1/net/tcp", table);
    let points = collect(&mut *collector("tcp_states", &context_of(&tree)), 1).expect("collects");
    for (field, expected) in [
        ("established", 1_000.0),
        ("time_wait", 1_000.0),
        ("listen", 1.0),
        ("syn_received", 1.0),
        ("receive_queue_bytes", 6_000.0),
        ("transmit_queue_bytes", 4_000.0),
        ("accept_queue", 7.0),
    ] {
        assert_eq!(number(&points[0], field), expected, "{field}");
    }
    let tree = HostTree::new().file("proc/1/net/tcp", head.to_owned() + &"x".repeat(100_000));
    let outcome = collect(&mut *collector("tcp_states", &context_of(&tree)), 1);
    assert!(
        matches!(outcome, Err(CollectError::Parse { line: 2, .. })),
        "{outcome:?}"
    );
}
