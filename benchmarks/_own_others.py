"""Models of graphs and of sound that no package of the tables has."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GraphConvolution(nn.Module):
    """A graph network of normalized sums over neighbours (Kipf and Welling), by `index_add`."""

    def __init__(self, ins: int = 64, width: int = 64, outs: int = 8):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(ins, width), nn.Linear(width, outs)])

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        degree = torch.ones(nodes.shape[0]).index_add(0, edges[1], torch.ones(edges.shape[1]))
        weight = (degree[edges[0]] * degree[edges[1]]).rsqrt().unsqueeze(1)
        for number, layer in enumerate(self.layers):
            nodes = layer(nodes)
            nodes = torch.zeros_like(nodes).index_add(0, edges[1], nodes[edges[0]] * weight) + nodes / degree.unsqueeze(
                1
            )
            nodes = torch.relu(nodes) if number == 0 else nodes
        return nodes


class GraphAttention(nn.Module):
    """A graph network whose nodes attend to their neighbours (Veličković and others), by scattered softmax."""

    def __init__(self, ins: int = 64, width: int = 32, heads: int = 4, outs: int = 8):
        super().__init__()
        self.heads, self.width = heads, width
        self.project = nn.Linear(ins, heads * width, bias=False)
        self.seen = nn.Parameter(torch.randn(2, heads, width) / math.sqrt(width))
        self.last = nn.Linear(heads * width, outs)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        x = self.project(nodes).view(-1, self.heads, self.width)
        source, target = edges[0], edges[1]
        score = nn.functional.leaky_relu((x * self.seen[0]).sum(-1)[source] + (x * self.seen[1]).sum(-1)[target], 0.2)
        where = target.unsqueeze(1).expand_as(score)
        most = torch.full((x.shape[0], self.heads), -1e9).scatter_reduce(0, where, score, "amax")
        weight = (score - most[target]).exp()
        total = torch.zeros(x.shape[0], self.heads).index_add(0, target, weight)
        weight = weight / (total[target] + 1e-16)
        summed = torch.zeros_like(x).index_add(0, target, x[source] * weight.unsqueeze(-1))
        return self.last(nn.functional.elu(summed.flatten(1)))


class GraphSage(nn.Module):
    """A graph network of means over sampled neighbours (Hamilton and others), by `scatter_reduce`."""

    def __init__(self, ins: int = 64, width: int = 64, outs: int = 8):
        super().__init__()
        self.own = nn.ModuleList([nn.Linear(ins, width), nn.Linear(width, outs)])
        self.others = nn.ModuleList([nn.Linear(ins, width), nn.Linear(width, outs)])

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        for number, (own, others) in enumerate(zip(self.own, self.others, strict=True)):
            seen = nodes[edges[0]]
            where = edges[1].unsqueeze(1).expand_as(seen)
            mean = torch.zeros_like(nodes).scatter_reduce(0, where, seen, "mean", include_self=False)
            nodes = own(nodes) + others(mean)
            nodes = nn.functional.normalize(torch.relu(nodes), dim=-1) if number == 0 else nodes
        return nodes


class ConvTasNet(nn.Module):
    """Separates two voices: a learnt transform, dilated convolutions over it, and a mask for each voice."""

    def __init__(self, width: int = 64, depth: int = 4, voices: int = 2):
        super().__init__()
        self.voices = voices
        self.encoder = nn.Conv1d(1, width, 16, 8, bias=False)
        self.norm = nn.GroupNorm(1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, 2 * width, 1),
                nn.PReLU(),
                nn.GroupNorm(1, 2 * width),
                nn.Conv1d(2 * width, 2 * width, 3, padding=2**n, dilation=2**n, groups=2 * width),
                nn.PReLU(),
                nn.GroupNorm(1, 2 * width),
                nn.Conv1d(2 * width, width, 1),
            )
            for n in range(depth)
        )
        self.masks = nn.Conv1d(width, voices * width, 1)
        self.decoder = nn.ConvTranspose1d(width, 1, 16, 8, bias=False)

    def forward(self, wave: Tensor) -> Tensor:
        coded = torch.relu(self.encoder(wave))
        x = self.norm(coded)
        for block in self.blocks:
            x = x + block(x)
        masks = torch.sigmoid(self.masks(x)).view(x.shape[0], self.voices, *coded.shape[1:])
        return self.decoder((coded.unsqueeze(1) * masks).flatten(0, 1)).view(x.shape[0], self.voices, -1)


class SpeechLstm(nn.Module):
    """DeepSpeech's way: convolutions over a spectrogram, then a recurrent network in both directions."""

    def __init__(self, bins: int = 40, width: int = 64, letters: int = 29):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, (5, 5), (2, 2), 2),
            nn.BatchNorm2d(16),
            nn.Hardtanh(0, 20),
            nn.Conv2d(16, 16, 3, (2, 1), 1),
            nn.BatchNorm2d(16),
            nn.Hardtanh(0, 20),
        )
        self.recurrent = nn.LSTM(16 * bins // 4, width, batch_first=True, bidirectional=True)
        self.letters = nn.Linear(2 * width, letters)

    def forward(self, spectrogram: Tensor) -> Tensor:
        seen = self.convolutions(spectrogram).flatten(1, 2).transpose(1, 2)
        return torch.log_softmax(self.letters(self.recurrent(seen)[0]), -1)
