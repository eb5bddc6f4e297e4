"""Server and sites over many rounds: the same bits everywhere, and nothing lost for good to the encoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nvflare.app_opt.pt.tensor_downloader import TensorDownloadable

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.federation.encoding import SCALE, Tensors, decode, encode
from fedswin.federation.exchange import Download, ServerExchange, SiteExchange, wire_bytes
from fedswin.federation.refusal import UpdateRefusedError
from fedswin.tasks import build_model
from fedswin.weights.file import load_parameters, parameters
from fedswin.weights.local import local_names, split

ENCODINGS = ["fp32", "fp16", "int8"]
LOSSY = ["fp16", "int8"]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e-45, -1e-40])
SHAPES = {"conv.weight": (4, 2, 3, 3, 3), "linear.weight": (5, 3), "norm.bias": (4,), "factor": ()}


def normal(rng: torch.Generator, size: float = 1.0) -> Tensors:
    return {name: size * torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}


def plus(first: Tensors, second: Tensors) -> Tensors:
    return {name: tensor + second[name] for name, tensor in first.items()}


def mean(models: list[Tensors]) -> Tensors:
    return {name: torch.stack([model[name] for model in models]).mean(0) for name in models[0]}


def bits(tensors: Tensors) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def rng_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_a_unit(payload: Tensors) -> float:
    """The most that one entry of an encoded "w" is off by, at its largest scale or exponent."""
    if "w" + SCALE in payload:
        return float(payload["w" + SCALE].max()) / 2
    return float(np.spacing(payload["w"].abs().max().numpy())) / 2


@settings(deadline=None)
@given(arrays(np.float32, (2, 3), elements=FLOATS), arrays(np.float32, (2, 3), elements=FLOATS))
def test_fp32_carries_every_bit_both_ways(first, trained):
    server, site = ServerExchange("fp32", {"w": torch.zeros(2, 3)}), SiteExchange("fp32")
    server.publish({"w": torch.from_numpy(first)})
    assert site.receive(server.download_for(0))["w"].numpy().tobytes() == first.tobytes()
    read = server.read(site.send({"w": torch.from_numpy(trained)}))
    assert read["w"].numpy().tobytes() == trained.tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_after_each_of_30_rounds_all_hold_the_same_bits_though_sites_miss_some(encoding, seed):
    """In each round one site's answer is lost, another is not reached at all, and some rounds fail."""
    rng, random = rng_of(seed), np.random.default_rng(seed)
    server = ServerExchange(encoding, normal(rng))
    sites = {name: SiteExchange(encoding) for name in ("north", "south", "east", "west")}
    held: dict[str, int] = {}
    ways = set()
    for _ in range(30):
        lost, away = random.choice(list(sites), 2, replace=False)
        answers = []
        for name, site in sites.items():
            if name == away:
                continue
            download = server.download_for(held.get(name))
            ways.add(download.whole)
            published = site.receive(download)
            assert bits(published) == bits(server.published)
            update = site.send(plus(published, normal(rng, 1e-3)))
            if name != lost:
                held[name] = download.version
                answers.append(server.read(update))
        if random.random() < 0.8:
            server.publish(mean(answers))
    assert server.version > 15
    assert ways == ({True} if encoding == "fp32" else {True, False})


@pytest.mark.parametrize("encoding", LOSSY)
def test_who_gets_the_whole_model_holds_the_bits_of_who_has_decoded_every_difference(encoding):
    rng = rng_of(3)
    server, faithful, newcomer = ServerExchange(encoding, normal(rng)), SiteExchange(encoding), SiteExchange(encoding)
    followed = faithful.receive(server.download_for(None))
    for version in range(10):
        server.publish(plus(server.published, normal(rng, 1e-2)))
        download = server.download_for(version)
        assert not download.whole
        followed = faithful.receive(download)
    download = server.download_for(None)
    assert download.whole
    assert bits(newcomer.receive(download)) == bits(followed)


@pytest.mark.parametrize("encoding", LOSSY)
@settings(deadline=None, max_examples=30)
@given(steps=st.lists(arrays(np.float32, (2, 4), elements=st.floats(-1, 1, width=32)), min_size=1, max_size=20))
def test_all_updates_together_are_off_by_what_the_last_one_left_out(encoding, steps):
    published = {"w": torch.zeros(2, 4)}
    server, site = ServerExchange(encoding, published), SiteExchange(encoding)
    site.receive(server.download_for(None))
    meant, read = np.zeros((2, 4)), np.zeros((2, 4))
    for step in steps:
        update = site.send({"w": torch.from_numpy(step)})
        meant += step
        read += server.read(update)["w"].numpy()
        assert np.abs(read - meant).max() <= half_a_unit(update) + 1e-5


@pytest.mark.parametrize(("encoding", "quiet"), [("int8", 1e-3), ("fp16", 2e-8)])
def test_a_step_too_small_to_be_encoded_is_delivered_in_the_long_run_both_ways(encoding, quiet):
    step = torch.tensor([[1.0, quiet]])
    assert decode("w", encode("w", step, encoding))[0, 1] == 0  # what each round would send without feedback
    server, site = ServerExchange(encoding, {"w": torch.zeros(1, 2)}), SiteExchange(encoding)
    site.receive(server.download_for(None))
    up = sum(server.read(site.send({"w": step}))["w"].double() for _ in range(1000))
    for _ in range(1000):
        server.publish({"w": server.published["w"] + step})
    assert float(up[0, 1]) == pytest.approx(1000 * quiet, rel=0.01)
    assert float(server.published["w"][0, 1]) == pytest.approx(1000 * quiet, rel=0.01)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_is_not_sent_and_leaves_no_trace(encoding, value):
    rng = rng_of(4)
    initial, diverged, good, next_good = normal(rng), normal(rng), normal(rng), normal(rng)
    diverged["factor"] = torch.tensor(value)  # the last of the tensors
    ends = [(ServerExchange(encoding, initial), SiteExchange(encoding)) for _ in range(2)]
    for server, site in ends:
        site.receive(server.download_for(None))
        site.send(good)
        server.publish(good)
    (server, site), (twin_server, twin_site) = ends
    for send in (site.send, server.publish):
        with pytest.raises(FedSwinError, match="factor holds values that are not finite"):
            send(diverged)
    assert bits(server.published) == bits(twin_server.published)
    assert bits(site.send(next_good)) == bits(twin_site.send(next_good))
    server.publish(next_good)
    twin_server.publish(next_good)
    assert bits(server.published) == bits(twin_server.published)


def test_a_value_that_overflows_only_when_decoded_is_not_sent_either():
    site = SiteExchange("int8")
    site.receive(Download({"w": torch.zeros(1, 1)}, 0, whole=True))
    with pytest.raises(FedSwinError, match="w holds values that are not finite"):
        site.send({"w": torch.full((1, 1), torch.finfo(torch.float32).max)})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_who_resumes_goes_on_as_if_never_interrupted(encoding, tmp_path):
    def resumed(end, new):
        torch.save(end.state_dict(), tmp_path / "state.pt")
        new.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        return new

    def study(interrupted: bool) -> Tensors:
        rng = rng_of(5)
        server, site, held = ServerExchange(encoding, normal(rng)), SiteExchange(encoding), None
        for number in range(6):
            if interrupted and number == 3:
                server, site = resumed(server, ServerExchange(encoding, {})), resumed(site, SiteExchange(encoding))
                held = None
            download = server.download_for(held)
            published, held = site.receive(download), download.version
            update = site.send(plus(published, normal(rng, 1e-3)))
            server.publish(plus(server.read(update), normal(rng, 1e-3)))  # as if there were other sites
        return server.published

    assert bits(study(interrupted=True)) == bits(study(interrupted=False))


@pytest.mark.parametrize("encoding", LOSSY)
def test_what_a_resumed_server_published_before_goes_out_whole(encoding):
    server, again = (ServerExchange(encoding, normal(rng_of(6))) for _ in range(2))
    server.publish(normal(rng_of(7)))
    again.publish(normal(rng_of(16)))
    again.load_state_dict(server.state_dict())
    assert not server.download_for(0).whole
    assert again.download_for(0) == Download(server.published, 1, whole=True)


@pytest.mark.parametrize("encoding", LOSSY)
def test_differences_that_came_before_are_not_added_twice(encoding):
    """An answer came too late and the round failed, so the server sends once more what the site has already."""
    server, site = ServerExchange(encoding, normal(rng_of(8))), SiteExchange(encoding)
    site.receive(server.download_for(None))
    server.publish(normal(rng_of(9)))
    for _ in range(2):
        assert bits(site.receive(server.download_for(0))) == bits(server.published)


@pytest.mark.parametrize("missed", [1, 2])
def test_differences_to_a_model_that_a_site_does_not_hold_are_an_error(missed):
    server, site = ServerExchange("int8", normal(rng_of(10))), SiteExchange("int8")
    if missed == 2:
        site.receive(server.download_for(None))
        server.publish(normal(rng_of(11)))
    server.publish(normal(rng_of(12)))
    with pytest.raises(FedSwinError, match=f"Global model {missed} came as differences"):
        site.receive(server.download_for(missed - 1))


def test_differences_that_do_not_fit_are_an_error_at_the_site_and_refused_at_the_server():
    server, site = ServerExchange("int8", normal(rng_of(13))), SiteExchange("int8")
    published = site.receive(server.download_for(None))
    update = site.send(published)
    del update["linear.weight" + SCALE]
    with pytest.raises(UpdateRefusedError, match="missing linear.weight..scale"):
        server.read(update)
    with pytest.raises(FedSwinError, match="Global model 1 does not fit the one before: missing linear.weight..scale"):
        site.receive(Download(update, 1, whole=False))


@pytest.mark.parametrize("content", [tiny.PRETRAIN, tiny.FINETUNE])
def test_fp16_takes_half_the_bytes_of_fp32_and_int8_a_quarter(content):
    initial = parameters(build_model(tiny.job(content)))
    trained = {
        name: tensor + 1e-3 * torch.randn(tensor.shape, generator=rng_of(14)) for name, tensor in initial.items()
    }
    up = {}
    for encoding in ENCODINGS:
        site = SiteExchange(encoding)
        site.receive(Download(initial, 0, whole=True))
        up[encoding] = wire_bytes(site.send(trained))
    values = 4 * sum(tensor.numel() for tensor in initial.values())
    assert values < up["fp32"] < 1.01 * values
    assert up["fp16"] / up["fp32"] == pytest.approx(0.5, abs=0.01)
    assert up["int8"] / up["fp32"] == pytest.approx(0.25, abs=0.04)  # scales, and tensors that are not encoded


def test_bytes_are_counted_as_nvflare_serialises_them():
    update = encode("weight", torch.randn(4, 3, generator=rng_of(15)), "int8") | {"bias": torch.zeros(7).half()}
    sent = TensorDownloadable(update, max_chunk_size=2**21)
    assert wire_bytes(update) == sum(len(sent.produce_item(number)) for number in range(sent.get_item_count()))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_position_indices_survive_an_average_with_weights_20_and_29(encoding):
    """Stock averaging of the whole state dict corrupts 1251 of their 2197 entries with these weights."""
    models = [build_model(tiny.job({**tiny.FINETUNE, "seed": seed})) for seed in (0, 1)]
    indices = {name: value.clone() for name, value in models[0].state_dict().items() if "position_index" in name}
    server = ServerExchange(encoding, parameters(models[0]))
    updates = []
    for model in models:
        site = SiteExchange(encoding)
        site.receive(server.download_for(None))
        updates.append(site.send(parameters(model)))
    assert all(tensor.is_floating_point() or name + SCALE in updates[0] for name, tensor in updates[0].items())
    first, second = (server.read(update) for update in updates)
    server.publish({name: (20 * first[name] + 29 * second[name]) / 49 for name in first})
    load_parameters(models[0], server.published, "the mean")
    after = models[0].state_dict()
    assert len(indices) == 8
    assert all(torch.equal(after[name], value) for name, value in indices.items())
    assert not torch.equal(first["out.conv.conv.weight"], second["out.conv.conv.weight"])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_integer_buffer_and_no_local_parameter_crosses(encoding):
    model = build_model(tiny.job(tiny.PRETRAIN))
    local = local_names(parameters(model).keys(), ["rotation", "swinViT.layers4"])
    shared, kept = split(parameters(model), local)
    server, site = ServerExchange(encoding, shared), SiteExchange(encoding)
    down = server.download_for(None).tensors
    site.receive(Download(down, 0, whole=True))
    up = site.send(shared)
    names = {name.removesuffix(SCALE) for name in up}
    assert names == down.keys() == dict(model.named_parameters()).keys() - kept.keys()
    assert any(name.startswith("swinViT.layers3") for name in names)
    assert not any("rotation" in name or "layers4" in name or "position_index" in name for name in names)
