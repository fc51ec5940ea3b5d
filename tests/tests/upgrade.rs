//! A start over tables of an earlier release: what they know comes along, and nothing of them stays.

use std::{fs, mem::offset_of, net::Ipv4Addr, path::Path};

use anyhow::Result;
use aya::{
    Pod as Plain,
    maps::{Array, HashMap, Map, MapData, MapType, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use canary_common::{
    endpoint::TCP,
    label::SplitLabel,
    settings::Settings,
    socket::SocketPick,
    stats::{Counter, Counts, Histograms},
};
use canary_tests::{
    lab::{Lab, Pod},
    scenario::{Backend, Scenario, Subset, TCP4, TIMEOUT, VIRTUAL_V4},
    workload::connect_many,
};
use canary_userspace::document::flow::ExplainFlow;

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// The rows that the old tables have of the frontend, of the backend and of the split.
const FRONTEND: u32 = 7;
const BACKEND: u32 = 9;
const SPLIT: u32 = 3;
/// Which owners of the rows of frontend and backend.
const GENERATIONS: [u16; 2] = [4, 5];
/// Marks of a flow: TCP, answered, with payload of the client.
const ANSWERED: u32 = 1 << 16 | 1 << 8 | 1;
/// Marks of a flow that was reset.
const RESET: u32 = ANSWERED | 1 << 2;
/// A socket that was sent to the backend when it connected.
const COOKIE: u64 = 0xc0_0c1e;
/// The seed by which an earlier release hashed `FLOWS`.
const FLOW_SEED: u64 = 0x0f10_75ee_d0f1_075e;
/// Flows that live.
const LIVE: u16 = 40;

#[test]
fn connections_and_counters_of_layout_1_come_along_and_its_pins_go() -> Result<()> {
    Lab::run("upgrade", |lab| {
        let subsets = [Subset { name: "blue", pods: 4 }];
        let client = lab.pod("client")?;
        let pods = (1..=4).map(|number| lab.pod(&format!("blue-{number}")));
        let pods = pods.map(|pod| Backend::start(lab, pod?, "blue"));
        let backends = pods.collect::<Result<Vec<_>>>()?;
        let old = lab.bpffs().join("v1");
        plant(&old.join("maps"), &client, &backends[2].pod)?;

        let scenario = Scenario::serve(lab, client, backends, &subsets, &[])?;

        assert!(!old.exists(), "the old pins are there");
        let frontend = TCP4.frontend().to_string();
        let explain = |port: u16| -> Result<ExplainFlow> {
            let client = format!("{}:{port}", scenario.client.v4);
            lab.ctl_json(&["explain", &client, &frontend])
        };
        let served = TCP4.backend(&scenario.backends[2].pod).unwrap().to_string();
        let mut drawn = 0;
        for port in 2000..2000 + LIVE {
            let flow = explain(port)?;
            let known = flow.known.unwrap_or_else(|| panic!("the flow of port {port} is lost"));
            assert_eq!(known.backend.as_ref(), Some(&served), "{known:?}");
            assert_eq!((known.state.as_str(), known.subset.as_str()), ("established", "blue"));
            drawn += u16::from(flow.backend.as_ref() == Some(&served));
        }
        assert!(drawn < LIVE, "all are where a new pick would send them");
        assert_eq!(explain(3000)?.known, None, "one that was reset");
        assert_eq!(explain(3001)?.known, None, "one of an earlier owner of the backend's row");
        let connections = &lab.service(TCP4.service)?.splits[0].connections;
        assert_eq!((connections.opened, connections.established), (1200, 1100));
        assert_eq!(connections.timed_out, 17);
        let sockets = MapData::from_pin(lab.bpffs().join("v2/maps/BROUGHT"))?;
        let sockets: HashMap<_, u64, SocketPick> = HashMap::try_from(Map::HashMap(sockets))?;
        let [.., a, b, c, d] = sockets.get(&COOKIE, 0)?.address;
        assert_eq!(Ipv4Addr::from([a, b, c, d]), VIRTUAL_V4);
        let said = format!("{LIVE} connections were brought along from the tables of layout 1");
        let warnings = lab.status()?.warnings;
        assert!(warnings.iter().any(|warning| warning.text.contains(&said)), "{warnings:?}");
        Ok(())
    })
}

#[test]
fn pins_of_a_layout_that_nobody_knows_go_with_a_warning() -> Result<()> {
    Lab::run("unknown", |lab| {
        let maps = lab.bpffs().join("v99/maps");
        fs::create_dir_all(&maps)?;
        make(&maps, "FLOWS", MapType::Array, [4, 8], 0)?;

        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;

        assert!(!lab.bpffs().join("v99").exists(), "the unknown pins are there");
        let warnings = lab.status()?.warnings;
        let said = "the tables of layout 99 cannot be read and are removed";
        assert!(warnings.iter().any(|warning| warning.text.contains(said)), "{warnings:?}");
        drop(scenario);
        Ok(())
    })
}

#[test]
fn settings_and_picks_of_an_earlier_release_of_our_layout_come_along() -> Result<()> {
    Lab::run("row", |lab| {
        let maps = lab.bpffs().join("v2/maps");
        fs::create_dir_all(&maps)?;
        let flow_seed = offset_of!(Settings, flow_seed);
        let mut row = [0; 128];
        row[flow_seed..flow_seed + 8].copy_from_slice(&FLOW_SEED.to_ne_bytes());
        let data = make(&maps, "SETTINGS", MapType::Array, [4, row.len()], MMAPABLE)?;
        set(Array::try_from(Map::Array(data))?, 0, row)?;
        let key_and_value = [8, size_of::<SocketPick>()];
        let data = make(&maps, "SOCKETS", MapType::LruHash, key_and_value, 0)?;
        let mut old: HashMap<MapData, u64, SocketPick> = HashMap::try_from(Map::LruHashMap(data))?;
        let pick = SocketPick {
            address: VIRTUAL_V4.to_ipv6_mapped().octets(),
            port: TCP4.port.to_be_bytes(),
            statistics: 1,
            backend: BACKEND,
            protocol: u64::from(TCP),
        };
        old.insert(COOKIE, pick, 0)?;

        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;

        let ours = MapData::from_pin(maps.join("SETTINGS"))?;
        let ours: Array<_, [u8; size_of::<Settings>()]> = Array::try_from(Map::Array(ours))?;
        let ours = ours.get(&0, 0)?;
        assert_eq!(ours[flow_seed..flow_seed + 8], FLOW_SEED.to_ne_bytes(), "FLOWS is lost");
        let brought = MapData::from_pin(maps.join("BROUGHT"))?;
        let brought: HashMap<_, u64, SocketPick> = HashMap::try_from(Map::HashMap(brought))?;
        assert_eq!(brought.get(&COOKIE, 0)?, pick);
        for gone in ["SOCKETS", "SETTINGS_BEFORE"] {
            assert!(!maps.join(gone).exists(), "{gone} stays");
        }
        let client = &scenario.client.namespace;
        let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 20, TIMEOUT)?;
        assert_eq!(answers.of("blue"), 20, "{answers:?}");
        Ok(())
    })
}

#[test]
fn a_table_of_another_shape_is_refused_and_stays() -> Result<()> {
    Lab::run("shape", |lab| {
        let maps = lab.bpffs().join("v2/maps");
        fs::create_dir_all(&maps)?;
        make(&maps, "STATS", MapType::PerCpuArray, [4, 8], 0)?;

        let agent = lab.start_agent_at(&lab.directory().join("agent.sock"), &[])?;

        assert_eq!(agent.wait(TIMEOUT)?.code(), Some(1));
        let said = fs::read_to_string(lab.agent_log())?;
        let expected = format!(
            "table {} has kind 6, keys of 4 and rows of 8 bytes",
            maps.join("STATS").display()
        );
        assert!(said.contains(&expected), "{said}");
        let pins: Vec<_> = fs::read_dir(&maps)?.flatten().map(|pin| pin.file_name()).collect();
        assert_eq!(pins, ["STATS"], "nothing is made, and nothing taken away");
        Ok(())
    })
}

/// Pins tables as an agent of layout 1 leaves them.
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "the test's own tables")]
fn plant(maps: &Path, client: &Pod, backend: &Pod) -> Result<()> {
    fs::create_dir_all(maps)?;
    let frontends = array::<[u32; 8]>(maps, "FRONTENDS")?;
    let [frontend_owner, backend_owner] = GENERATIONS;
    let [a, b, c, d, tail] = endpoint(VIRTUAL_V4, TCP4.port);
    set(frontends, FRONTEND, [a, b, c, d, tail, 1, 0, frontend_owner.into()])?;
    let backends = array::<[u32; 8]>(maps, "BACKENDS")?;
    let [a, b, c, d, tail] = endpoint(backend.v4, TCP4.pod_port);
    let status = u32::from(backend_owner) << 16 | 1;
    set(backends, BACKEND, [a, b, c, d, tail, status, FRONTEND, frontend_owner.into()])?;
    let label = SplitLabel::new(&[TCP4.service, TCP4.service, "blue"]).unwrap();
    let mut bytes = [0; size_of::<SplitLabel>()];
    bytes[..4].copy_from_slice(&label.lengths);
    bytes[4..].copy_from_slice(&label.text);
    set(array(maps, "LABELS")?, SPLIT, bytes)?;
    set(array::<[u64; 3]>(maps, "SPLITS")?, SPLIT, [0, 17, 0])?;

    let mut counts = Counts::default();
    counts.values[Counter::Opened.index()] = 600;
    counts.values[Counter::Established.index()] = 550;
    let mut cpus = vec![Counts::default(); nr_cpus().unwrap()];
    let last = cpus.len() - 1;
    cpus[0] = counts;
    if last == 0 {
        cpus[0].values.iter_mut().for_each(|value| *value *= 2);
    } else {
        cpus[last] = counts;
    }
    let data = make(maps, "STATS", MapType::PerCpuArray, [4, size_of::<Counts>()], 0)?;
    let mut stats: PerCpuArray<MapData, Counts> = PerCpuArray::try_from(Map::PerCpuArray(data))?;
    stats.set(SPLIT, PerCpuValues::try_from(cpus)?, 0)?;
    make(maps, "HISTOGRAMS", MapType::PerCpuArray, [4, size_of::<Histograms>()], 0)?;

    let data = make(maps, "SOCKETS", MapType::LruHash, [8, 16], 0)?;
    let mut sockets: HashMap<MapData, u64, [u32; 4]> = HashMap::try_from(Map::LruHashMap(data))?;
    sockets.insert(COOKIE, [FRONTEND, frontend_owner.into(), BACKEND, SPLIT], 0)?;
    for family in [4, 6] {
        let key = if family == 4 { 12 } else { 24 };
        for (table, value) in [("FLOWS", 24), ("OPENING", 24), ("FOREIGN", 4)] {
            let name = format!("{table}{family}");
            let data = make(maps, &name, MapType::LruHash, [key, value], 0)?;
            if name == "FLOWS4" {
                fill(HashMap::try_from(Map::LruHashMap(data))?, client.v4)?;
            }
        }
    }
    Ok(())
}

/// Flows of a client: some that live, one that was reset, one whose backend's row has had another
/// owner since.
fn fill(mut flows: HashMap<MapData, [u8; 12], [u32; 6]>, client: Ipv4Addr) -> Result<()> {
    let [frontend_owner, backend_owner] = GENERATIONS;
    let key = |port: u16| {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&client.octets());
        key[4..8].copy_from_slice(&FRONTEND.to_ne_bytes());
        key[8..10].copy_from_slice(&port.to_be_bytes());
        key[10..].copy_from_slice(&frontend_owner.to_ne_bytes());
        key
    };
    let now = canary_userspace::kernel::node::now(canary_userspace::kernel::node::hertz()?)?;
    let flow = |owner: u16, marks| {
        let owner = u32::from(owner) << 16 | SPLIT;
        [BACKEND, owner, marks, now, now, 0]
    };
    for port in 2000..2000 + LIVE {
        flows.insert(key(port), flow(backend_owner, ANSWERED), 0)?;
    }
    flows.insert(key(3000), flow(backend_owner, RESET), 0)?;
    flows.insert(key(3001), flow(backend_owner - 1, ANSWERED), 0)?;
    Ok(())
}

/// The first five words of a row: address, then port and protocol.
fn endpoint(address: Ipv4Addr, port: u16) -> [u32; 5] {
    let [a, b] = port.to_be_bytes();
    let tail = u32::from_ne_bytes([a, b, 6, 0]);
    let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    [0, 0, mapped, u32::from_ne_bytes(address.octets()), tail]
}

fn array<V: Plain>(maps: &Path, name: &str) -> Result<Array<MapData, V>> {
    let data = make(maps, name, MapType::Array, [4, size_of::<V>()], MMAPABLE)?;
    Ok(Array::try_from(Map::Array(data))?)
}

fn set<V: Plain>(mut rows: Array<MapData, V>, row: u32, value: V) -> Result<()> {
    Ok(rows.set(row, value, 0)?)
}

#[expect(clippy::as_conversions, reason = "the kernel's number of a kind of map")]
fn make(
    maps: &Path,
    name: &str,
    kind: MapType,
    [key, value]: [usize; 2],
    flags: u32,
) -> Result<MapData> {
    let (key, value) = (u32::try_from(key)?, u32::try_from(value)?);
    let map = aya_obj::Map::new_from_params(kind as u32, key, value, ROWS, flags);
    let data = MapData::create(map, name, None)?;
    data.pin(maps.join(name))?;
    Ok(data)
}

/// Rows of each table.
const ROWS: u32 = 1024;
