import os
import pty
import select
import subprocess
import sys
import time

import pytest
import torch
from tiny import ANSWERS, parrot

from llmrecipe.cli import chat as command
from llmrecipe.cli import parser
from llmrecipe.cli.exported import Exported
from llmrecipe.stages.chat import Conversation, TooLongError, answer, load

SKY, SPIDER = ANSWERS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return parrot(tmp_path_factory.mktemp("parrot"))


@pytest.fixture
def conversation(model):
    return Conversation(*load(model), system=None, temperature=0.0, max_new_tokens=64)


def talk(model, *options, text=""):
    line = [sys.executable, "-m", "llmrecipe", "chat", str(model), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, input=text, capture_output=True, text=True, env=environment, timeout=120)


def test_questions_of_a_pipe_are_answered_and_nothing_else_is_printed(model):
    done = talk(model, text=f"{SKY}\n\n/reset\n{SPIDER}\n/exit\n{SKY}\n")
    assert (done.returncode, done.stdout) == (0, f"{ANSWERS[SKY]}\n{ANSWERS[SPIDER]}\n")
    assert done.stderr == "(a new conversation)\n"


def test_once_answers_and_leaves(model):
    done = talk(model, "--once", SKY, text=SPIDER)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ANSWERS[SKY] + "\n")


def test_the_answer_is_shown_while_it_is_made(conversation, monkeypatch):
    printed = []
    monkeypatch.setattr("builtins.print", lambda text="", **how: printed.append(text))
    conversation.ask(SPIDER)
    assert "".join(printed) == ANSWERS[SPIDER]
    assert len(printed) > 5


def test_no_half_of_a_character_is_shown(conversation, capsys):
    conversation.ask(SPIDER)
    assert "ï" in ANSWERS[SPIDER]
    assert capsys.readouterr().out == ANSWERS[SPIDER] + "\n"


def test_the_model_sees_what_was_said_before(conversation, monkeypatch):
    seen = []
    generate = conversation.model.generate
    monkeypatch.setattr(conversation.model, "generate", lambda ids, **how: (seen.append(ids), generate(ids, **how)))
    answer(conversation, "/system Be brief.")
    answer(conversation, SKY)
    answer(conversation, SPIDER)
    text = conversation.tokenizer.decode(seen[1][0])
    assert [text.index(part) for part in ("Be brief.", SKY, SPIDER)] == sorted(
        text.index(part) for part in ("Be brief.", SKY, SPIDER)
    )
    answer(conversation, "/reset")
    answer(conversation, "/system")
    answer(conversation, SKY)
    assert SPIDER not in conversation.tokenizer.decode(seen[2][0])
    assert "Be brief." not in conversation.tokenizer.decode(seen[2][0])


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(conversation, monkeypatch, capsys):
    def interrupted(ids, streamer, **how):
        streamer.put(ids)
        streamer.put(conversation.tokenizer("The sky", return_tensors="pt").input_ids[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(conversation.model, "generate", interrupted)
    conversation.ask(SKY)
    assert conversation.turns[-1] == {"role": "assistant", "content": "The sky"}
    assert capsys.readouterr().out == "The sky\n"


def test_old_turns_are_forgotten_when_the_context_is_full(conversation, capsys):
    for _ in range(6):
        conversation.ask(SKY)
    assert len(conversation.turns) < 12
    assert "is forgotten" in capsys.readouterr().err


def test_a_question_longer_than_the_context_is_refused_and_forgotten(conversation):
    with pytest.raises(TooLongError, match="the model takes 96 and an answer of 32"):
        conversation.ask("why? " * 200)
    assert conversation.turns == []


def test_a_template_that_refuses_does_not_end_the_conversation(conversation, capsys):
    conversation.tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    answer(conversation, SKY)
    assert "no system here" in capsys.readouterr().err
    assert conversation.turns == []


def test_without_a_template_the_model_continues_the_text(conversation, capsys):
    conversation.tokenizer.chat_template = None
    conversation.ask("<|im_start|>user\n" + SKY + "<|im_end|>\n<|im_start|>assistant\n")
    assert capsys.readouterr().out == ANSWERS[SKY] + "\n"


def test_a_temperature_samples(conversation):
    conversation.model.generation_config.top_p = 0.5
    greedy = conversation._generation(8)
    conversation.temperature = 0.7
    sampled = conversation._generation(8)
    assert (greedy.do_sample, greedy.top_p) == (False, None)
    assert (sampled.do_sample, sampled.temperature, sampled.top_p) == (True, 0.7, 0.5)
    assert sampled.eos_token_id == conversation.model.generation_config.eos_token_id
    torch.manual_seed(0)
    conversation.ask(SKY)


def test_a_question_that_looks_like_an_option_stays_a_question(model):
    arguments = parser("chat").parse_args(["chat", "x.yaml", "--once=--help"])
    assert "--once=--help" in command.command(Exported("x", model), arguments)


@pytest.mark.slow
def test_on_a_terminal_it_prompts_and_ctrl_d_leaves(model):
    master, slave = pty.openpty()
    line = [sys.executable, "-m", "llmrecipe", "chat", str(model)]
    process = subprocess.Popen(line, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    shown = _until(master, b"\n> ")
    os.write(master, SKY.encode() + b"\n")
    shown += _until(master, b"blue.", b"\n> ")
    os.write(master, b"\x04")
    assert process.wait(timeout=30) == 0
    assert b"parameters on" in shown


def _until(terminal, *wanted):
    """What is shown until the texts were there, one after another."""
    shown, found, deadline = b"", 0, time.monotonic() + 60
    for text in wanted:
        while (at := shown.find(text, found)) < 0:
            assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], shown
            shown += os.read(terminal, 4096)
        found = at + len(text)
    return shown


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-new-tokens", "0", "a length is a whole number of tokens from 1 on"),
        ("--max-new-tokens", "many", "a length is a whole number of tokens from 1 on"),
        ("--temperature", "-1", "a temperature is a number from 0 on"),
        ("--temperature", "nan", "a temperature is a number from 0 on"),
        ("--temperature", "hot", "a temperature is a number from 0 on"),
    ],
)
def test_a_number_that_no_model_can_use_is_a_mistake_of_usage(option, value, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser("chat").parse_args(["chat", "model", f"{option}={value}"])
    assert message in capsys.readouterr().err
