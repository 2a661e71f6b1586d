use testkit::registry::{Lie, Rule};

use super::*;

fn manifest(registry: &LyingRegistry, name: &str) -> String {
    let text = format!(r#"{{"schemaVersion":2,"config":{{}},"layers":[],"x":"{name}"}}"#);
    registry.add_manifest("a/b", name, oci::media_type::OCI_MANIFEST, text.as_bytes())
}

#[tokio::test]
async fn all_pages_of_tags() {
    let registry = LyingRegistry::start().unwrap();
    for number in 0..25 {
        manifest(&registry, &format!("t{number:02}"));
    }
    let repository = repository(&registry);
    assert_eq!(repository.tags().await.unwrap().len(), 25);
    let first = repository.tags_page(10, None).await.unwrap();
    assert_eq!((first.tags.len(), first.tags[9].as_str()), (10, "t09"));
    let second = repository.tags_page(10, first.next.as_deref()).await.unwrap();
    let third = repository.tags_page(10, second.next.as_deref()).await.unwrap();
    assert_eq!((third.tags.len(), third.next), (5, None));
    let reference = Reference::parse(&format!("{}/no/such", registry.address())).unwrap();
    let none = Client::new(config())
        .unwrap()
        .repository(&reference, Credentials::Anonymous, Access::Pull);
    let error = chain(&none.tags().await.unwrap_err());
    assert!(
        error.starts_with(&format!("repository {}/no/such not found: ", registry.address())),
        "{error}"
    );
}

#[tokio::test]
async fn im_08_hostile_lists_of_tags() {
    let registry = LyingRegistry::start().unwrap();
    let repository = repository(&registry);
    let link = |target: &str, body: &str| {
        let headers = vec![("Link".to_owned(), format!("<{target}>; rel=\"next\""))];
        Lie::Answer(200, headers, body.as_bytes().to_vec())
    };
    // What is no tag is left out.
    let odd = r#"{"tags":["good","../x","a/b","","a b","-x","\u0000"]}"#;
    registry.lie(Rule::once(
        "GET",
        "/tags/",
        Lie::Answer(200, Vec::new(), odd.into()),
    ));
    assert_eq!(repository.tags().await.unwrap(), ["good"]);
    registry.lie(Rule::once(
        "GET",
        "/tags/",
        Lie::Answer(200, Vec::new(), br#"{"tags":null}"#.to_vec()),
    ));
    assert!(repository.tags().await.unwrap().is_empty());
    // A page that is its own next one.
    registry.lie(Rule::always(
        "GET",
        "/tags/",
        link("?last=x", r#"{"tags":["x"]}"#),
    ));
    assert!(repository.tags().await.unwrap().len() <= 2);
    registry.be_honest();
    for target in [
        "http://127.0.0.2/v2/a/b/tags/list?n=1",
        "/v2/secret/tags/list?n=1",
        "/v2/a/b/tags/list",
        "ftp://x",
    ] {
        registry.lie(Rule::once("GET", "/tags/", link(target, r#"{"tags":["x"]}"#)));
        let error = repository.tags().await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("the link to the next page leads elsewhere"),
            "{error}"
        );
    }
    for body in ["", "{\"tags\":{}}", "{\"tags\":[1]}"] {
        registry.lie(Rule::once(
            "GET",
            "/tags/",
            Lie::Answer(200, Vec::new(), body.into()),
        ));
        let outcome = repository.tags().await;
        assert!(
            matches!(outcome, Err(RegistryError::Protocol { .. })),
            "{body}: {outcome:?}"
        );
    }
    let large = vec![b' '; (8 << 20) + 1];
    registry.lie(Rule::once("GET", "/tags/", Lie::Answer(200, Vec::new(), large)));
    let error = repository.tags().await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    let many: Vec<_> = (0..60_000).map(|number| format!("\"t{number}\"")).collect();
    let body = format!("{{\"tags\":[{}]}}", many.join(","));
    registry.lie(Rule::once("GET", "/tags/", link("?n=1", &body)));
    registry.lie(Rule::once("GET", "/tags/", link("?n=2", &body)));
    let error = repository.tags().await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn referrers_by_both_ways() {
    let registry = LyingRegistry::start().unwrap();
    let subject = manifest(&registry, "1");
    let text = format!(
        r#"{{"schemaVersion":2,"artifactType":"a/sig","config":{{}},"layers":[],"subject":{{"digest":"{subject}"}}}}"#
    );
    let signature = registry.add_manifest("a/b", "sig", oci::media_type::OCI_MANIFEST, text.as_bytes());
    let repository = repository(&registry);
    let digest = parse(&subject);
    let found = repository.referrers(&digest, None).await.unwrap();
    assert_eq!((found.len(), found[0].digest.as_str()), (1, signature.as_str()));
    assert_eq!(
        repository.referrers(&digest, Some("a/sig")).await.unwrap().len(),
        1
    );
    assert!(
        repository
            .referrers(&digest, Some("a/other"))
            .await
            .unwrap()
            .is_empty()
    );
    registry.lie(Rule::always(
        "GET",
        "/referrers/",
        Lie::error(404, "UNSUPPORTED", "page not found"),
    ));
    assert!(repository.referrers(&digest, None).await.unwrap().is_empty());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{signature}","size":{},"artifactType":"a/sig"}}]}}"#,
        oci::media_type::OCI_MANIFEST,
        text.len()
    );
    registry.add_manifest(
        "a/b",
        &subject.replace(':', "-"),
        oci::media_type::OCI_INDEX,
        index.as_bytes(),
    );
    let found = repository.referrers(&digest, Some("a/sig")).await.unwrap();
    assert_eq!((found.len(), found[0].digest.as_str()), (1, signature.as_str()));
}

#[tokio::test]
async fn searches() {
    let registry = LyingRegistry::start().unwrap();
    manifest(&registry, "1");
    let client = Client::new(config()).unwrap();
    let host = registry.address();
    let search = async |term: &str| client.search(term, 5, Credentials::Anonymous).await.unwrap();
    let found = search(&format!("{host}/A")).await;
    assert_eq!(
        (found.len(), found[0].name.as_str()),
        (1, format!("{host}/a/b").as_str())
    );
    assert!(search(&format!("{host}/zzz")).await.is_empty());
    let entry = r#"{"name":"x\u001b","description":"d\n","star_count":7,"is_official":true}"#;
    let body = format!(r#"{{"num_results":9,"results":[{}]}}"#, [entry; 9].join(","));
    registry.lie(Rule::once(
        "GET",
        "/v1/search?q=a%20b&n=5",
        Lie::Answer(200, Vec::new(), body.into()),
    ));
    let found = search(&format!("{host}/a b")).await;
    assert_eq!(found.len(), 5);
    assert_eq!(
        (
            found[0].name.as_str(),
            found[0].description.as_str(),
            found[0].star_count
        ),
        ("x ", "d ", 7)
    );
    assert!(found[0].is_official && !found[0].is_automated);
}
