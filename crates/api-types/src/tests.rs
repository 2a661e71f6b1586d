use serde_json::{Value, json};

use crate::config::Words;
use crate::container::{ContainerSummary, CreateRequest, WaitReply};
use crate::exec::{ExecInspect, ProcessConfig};
use crate::host_config::HostConfig;
use crate::image::ImageDelete;
use crate::inspect::ContainerInspect;
use crate::stats::Stats;
use crate::stream::Progress;
use crate::system::SystemInfo;

/// The properties of `HostConfig` in Docker's API 1.50, and two that older clients send.
const HOST_CONFIG: &str = "Annotations AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps \
    BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize \
    ContainerIDFile CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus \
    CpusetMems DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd \
    IOMaximumBandwidth IOMaximumIOps Init IpcMode Isolation KernelMemory KernelMemoryTCP Links LogConfig MaskedPaths \
    Memory MemoryReservation MemorySwap MemorySwappiness Mounts NanoCpus NetworkMode OomKillDisable OomScoreAdj \
    PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths ReadonlyRootfs RestartPolicy Runtime \
    SecurityOpt ShmSize StorageOpt Sysctls Tmpfs UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom";

#[test]
fn every_property_of_host_config_is_known() {
    // A property that is known changes what is written back.
    for name in HOST_CONFIG.split_whitespace() {
        let known = [
            json!(true),
            json!(7),
            json!("x"),
            json!(["x"]),
            json!({"x": "y"}),
            json!({"x": null}),
            json!([{}]),
            json!({}),
            json!([1, 2]),
        ]
        .into_iter()
        .filter_map(|value| serde_json::from_value::<HostConfig>(json!({ name: value })).ok())
        .any(|host_config| host_config != HostConfig::default());
        assert!(known, "{name}");
    }
    assert_eq!(HOST_CONFIG.split_whitespace().count(), 71);
}

#[test]
fn create_requests_decode_leniently() {
    let request: CreateRequest = serde_json::from_value(json!({
        "Hostname": "h",
        "Cmd": "true",
        "Entrypoint": ["/bin/sh", "-c"],
        "Env": null,
        "Labels": null,
        "ExposedPorts": {"80/tcp": {}},
        "Unknown": {"a": [1]},
        "HostConfig": {"NetworkMode": "none", "Binds": null, "ConsoleSize": [24, 80], "LogConfig": {"Type": "", "Config": null}},
        "NetworkingConfig": {"EndpointsConfig": {"none": null}},
    }))
    .unwrap();
    assert_eq!(request.config.hostname, "h");
    assert_eq!(request.config.cmd, Some(Words(vec!["true".to_owned()])));
    assert_eq!(request.config.entrypoint.unwrap().len(), 2);
    assert_eq!(request.host_config.network_mode, "none");
    assert_eq!(request.host_config.console_size, [24, 80]);
    assert_eq!(request.networking_config.endpoints_config["none"], None);
    let empty: CreateRequest =
        serde_json::from_str(r#"{"HostConfig": null, "NetworkingConfig": null}"#).unwrap();
    assert_eq!(empty, CreateRequest::default());
    assert!(serde_json::from_str::<CreateRequest>(r#"{"Cmd": 3}"#).is_err());
}

#[test]
fn a_create_request_survives_the_wire() {
    let request: CreateRequest = serde_json::from_value(json!({
        "Image": "busybox", "Cmd": ["true"], "Tty": true, "StopTimeout": 0,
        "HostConfig": {"Memory": 7, "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}]},
    }))
    .unwrap();
    let sent = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<CreateRequest>(&sent).unwrap(), request);
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn inspect_has_dockers_fields() {
    let document = serde_json::to_value(ContainerInspect::default()).unwrap();
    assert_eq!(
        keys(&document),
        [
            "AppArmorProfile",
            "Args",
            "Config",
            "Created",
            "Driver",
            "ExecIDs",
            "GraphDriver",
            "HostConfig",
            "HostnamePath",
            "HostsPath",
            "Id",
            "Image",
            "LogPath",
            "MountLabel",
            "Mounts",
            "Name",
            "NetworkSettings",
            "Path",
            "Platform",
            "ProcessLabel",
            "ResolvConfPath",
            "RestartCount",
            "State",
        ]
    );
    assert_eq!(document["ExecIDs"], Value::Null);
    assert_eq!(document["HostConfig"]["Binds"], Value::Null);
    assert_eq!(document["HostConfig"]["UTSMode"], "");
    assert_eq!(document["State"]["OOMKilled"], false);
    assert_eq!(document["NetworkSettings"]["SecondaryIPv6Addresses"], Value::Null);
    assert_eq!(document["NetworkSettings"]["GlobalIPv6PrefixLen"], 0);
    assert_eq!(document["Config"]["Entrypoint"], Value::Null);
    assert!(document["Config"].get("ExposedPorts").is_none());
}

#[test]
fn small_replies_have_dockers_form() {
    let wait = WaitReply {
        status_code: 3,
        error: None,
    };
    assert_eq!(serde_json::to_string(&wait).unwrap(), r#"{"StatusCode":3}"#);
    let progress = Progress {
        stream: "x".to_owned(),
        ..Progress::default()
    };
    assert_eq!(serde_json::to_string(&progress).unwrap(), r#"{"stream":"x"}"#);
    let deleted = ImageDelete {
        untagged: "a:b".to_owned(),
        ..ImageDelete::default()
    };
    assert_eq!(serde_json::to_string(&deleted).unwrap(), r#"{"Untagged":"a:b"}"#);
    let exec = ExecInspect {
        process_config: ProcessConfig {
            privileged: Some(false),
            ..ProcessConfig::default()
        },
        ..ExecInspect::default()
    };
    let exec = serde_json::to_value(&exec).unwrap();
    assert_eq!(exec["ID"], "");
    assert_eq!(exec["ContainerID"], "");
    assert_eq!(exec["ExitCode"], Value::Null);
    assert_eq!(
        keys(&exec["ProcessConfig"]),
        ["arguments", "entrypoint", "privileged", "tty"]
    );
}

#[test]
fn lists_and_statistics_have_dockers_names() {
    let summary = serde_json::to_value(ContainerSummary::default()).unwrap();
    assert!(summary.get("SizeRw").is_none());
    assert_eq!(summary["ImageID"], "");
    assert_eq!(summary["Mounts"], json!([]));
    let stats = serde_json::to_value(Stats::default()).unwrap();
    for path in [
        "/cpu_stats/cpu_usage/usage_in_kernelmode",
        "/precpu_stats/throttling_data/throttled_periods",
        "/blkio_stats/io_service_bytes_recursive",
        "/memory_stats",
        "/pids_stats",
        "/num_procs",
    ] {
        assert!(stats.pointer(path).is_some(), "{path}");
    }
    let info = serde_json::to_value(SystemInfo::default()).unwrap();
    for name in [
        "ID",
        "NCPU",
        "NFd",
        "NGoroutines",
        "CpuCfsPeriod",
        "CPUShares",
        "CPUSet",
        "IPv4Forwarding",
        "CDISpecDirs",
        "HttpProxy",
        "OSType",
    ] {
        assert!(info.get(name).is_some(), "{name}");
    }
}
