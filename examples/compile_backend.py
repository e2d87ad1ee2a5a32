"""A model compiled with torch.compile(backend="ttreg") and trained: one graph, whose shapes depend on the data."""

import torch
from torch import nn
from torch._dynamo.utils import counters

import ttreg

torch.manual_seed(0)
torch._dynamo.config.capture_dynamic_output_shape_ops = True


class Tagger(nn.Module):
    """Scores the words that are there; how many they are is in the data, padding being 0."""

    def __init__(self):
        super().__init__()
        self.embedding, self.scores = nn.Embedding(100, 64), nn.Linear(64, 5)

    def forward(self, words):
        there = words.flatten().nonzero().flatten()
        return self.scores(torch.relu(self.embedding(words.flatten()[there])))


model = Tagger()
compiled = torch.compile(model, backend="ttreg", fullgraph=True, dynamic=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

for length in (9, 17, 30):
    words = torch.randint(0, 100, (4, length))
    scores = compiled(words)
    torch.testing.assert_close(scores, model(words))
    loss = nn.functional.cross_entropy(scores, words[words > 0] % 5)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"4 × {length} places, {len(scores)} words: loss {loss:.3f}")

print(f"graphs captured: {counters['stats']['unique_graphs']}")
print(ttreg.compile_session().report())
