use std::io::Write as _;

use super::*;

fn sources(directory: &tempfile::TempDir, hosts: &str, resolv_conf: &str) -> NameSources {
    let sources = NameSources {
        hosts: directory.path().join("hosts"),
        resolv_conf: directory.path().join("resolv.conf"),
    };
    for (path, text) in [(&sources.hosts, hosts), (&sources.resolv_conf, resolv_conf)] {
        base::file::create_new(path, 0o644)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }
    sources
}

#[tokio::test]
async fn files_come_before_servers() {
    let directory = tempfile::tempdir().unwrap();
    let sources = sources(
        &directory,
        "10.1.1.1 other\n10.2.2.2\tReg.Test reg # x\n::2 reg.test\n",
        "",
    );
    let of = async |name: &str| resolve(name, &sources).await.unwrap();
    assert_eq!(of("REG.test.").await.len(), 2);
    assert_eq!(of("10.9.9.9").await, [IpAddr::from([10, 9, 9, 9])]);
    assert!(of("localhost").await.iter().all(IpAddr::is_loopback));
}

#[tokio::test]
async fn servers_answer_by_udp_and_by_tcp() {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let mut buffer = [0u8; 512];
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            let mut answer = buffer[..length].to_vec();
            // First something forged, then "too long for UDP".
            udp.send_to(&[0; 40], peer).await.unwrap();
            answer[2..4].copy_from_slice(&[0x83, 0x80]);
            udp.send_to(&answer, peer).await.unwrap();
        }
        for _ in 0..2 {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await.unwrap();
            let is_a = answer[answer.len() - 3] == 1;
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = 1;
            answer.extend_from_slice(&[0xc0, 12, 0, if is_a { 1 } else { 28 }, 0, 1, 0, 0, 0, 1]);
            if is_a {
                answer.extend_from_slice(&[0, 4, 192, 0, 2, 1]);
            } else {
                answer.extend_from_slice(&[0, 16]);
                answer.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
            }
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let resolution = Resolution {
        servers: vec![address],
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_secs(10),
        attempts: 1,
    };
    let found = ask_servers("reg.test", &resolution).await.unwrap();
    assert_eq!(found, [IpAddr::from([192, 0, 2, 1]), Ipv6Addr::LOCALHOST.into()]);
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let unused = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let resolution = Resolution {
        servers: vec![unused],
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_millis(200),
        attempts: 1,
    };
    let error = ask_servers("reg.test", &resolution)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("lookup reg.test on {unused}: ")),
        "{error}"
    );
}
