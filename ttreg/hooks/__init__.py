"""What reaches PyTorch by other ways than single aten calls: whole layers, higher-order operators, torch.compile."""
