"""GGUF files with a chat template of a test."""

import struct

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""A template without tools, as SmolLM2's."""

TOOLS = """\
{%- for tool in tools or [] %}
    {{- '<|im_start|>system\\n' + (tool | tojson) + '<|im_end|>\\n' }}
{%- endfor %}
{%- for message in messages %}
    {{- '<|im_start|>' + ('user' if message.role == 'tool' else message.role) + '\\n' }}
    {{- message.content or '' }}
    {%- for call in message.tool_calls or [] %}
        {{- '{"name": "' + call.function.name + '", "arguments": ' }}
        {{- (call.function.arguments | tojson) + '}' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""A template with tools, in whose form SmolLM2 writes calls if the conversation has some."""

_KEY = "tokenizer.chat_template"


def _start(key):
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", 8)


def metadata(**templates):
    """Return a GGUF file without tensors that has these templates, by the end of their key."""
    pairs = [
        (_KEY + (f".{name}" if name != "default" else ""), text.encode())
        for name, text in templates.items()
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    return header + b"".join(
        _start(key) + struct.pack("<Q", len(text)) + text for key, text in pairs
    )


def with_template(content, template):
    """Return a GGUF file with another chat template."""
    at = content.index(_start(_KEY)) + len(_start(_KEY))
    (size,) = struct.unpack_from("<Q", content, at)
    text = template.encode() + b"{#"
    text += b" " * (-(len(text) + 2 - size) % 32) + b"#}"  # the tensors are aligned to 32 bytes
    return content[:at] + struct.pack("<Q", len(text)) + text + content[at + 8 + size :]
