"""Errors: what raises on CPU raises the same under the mode, which goes on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

X = torch.arange(12.0).reshape(3, 4) / 4
TABLE = torch.arange(10.0).view(5, 2)
FAULTS: list = []
PYTORCHS_ERRORS = (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError)


def fault(function):
    FAULTS.append(function)
    return function


@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: p.__name__)
def test_it_raises_what_it_raises_on_cpu(fault, same_as_cpu):
    same_as_cpu(fault, raises=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: p.__name__)
def test_the_block_goes_on_afterwards(fault, device):
    with device as session:
        kept = session.to_device(X)
        for _ in range(2):  # the decision is kept, and has to raise again
            with pytest.raises(PYTORCHS_ERRORS):
                fault(session.to_device)
        result = kept @ kept.t() + 1
    assert result.tolist() == (X @ X.t() + 1).tolist()


@fault
def shapes_that_do_not_broadcast(tensor):
    return tensor(X) + tensor(torch.ones(5))


@fault
def matrices_that_do_not_fit(tensor):
    return tensor(X) @ tensor(X)


@fault
def a_bias_that_does_not_fit(tensor):
    return F.linear(tensor(X), tensor(torch.ones(2, 4)), tensor(torch.ones(3)))


@fault
def matrices_of_two_dtypes(tensor):
    return tensor(X) @ tensor(X.t().bfloat16())


@fault
def an_index_of_an_embedding_beyond_the_table(tensor):
    return F.embedding(torch.tensor([0, 5]), tensor(TABLE))


@fault
def a_negative_index_of_an_embedding(tensor):
    return F.embedding(torch.tensor([-1, 0]), tensor(TABLE))


@fault
def an_embedding_index_that_is_a_float(tensor):
    return F.embedding(tensor(torch.ones(2)), tensor(TABLE))


@fault
def an_index_beyond_a_dimension(tensor):
    return tensor(X).index_select(0, torch.tensor([7]))


@fault
def a_gather_beyond_a_dimension(tensor):
    return tensor(X).gather(1, torch.tensor([[9]]))


@fault
def an_advanced_index_beyond_a_dimension(tensor):
    return tensor(X)[torch.tensor([0, 3])]


@fault
def a_mask_of_another_shape(tensor):
    return tensor(X)[torch.tensor([True, False])]


@fault
def a_view_of_another_size(tensor):
    return tensor(X).view(5, 5)


@fault
def a_view_across_strides(tensor):
    return tensor(X).t().view(12)


@fault
def a_dimension_that_is_not_there(tensor):
    return tensor(X).sum(4)


@fault
def a_softmax_over_integers(tensor):
    return tensor(torch.ones(2, 3, dtype=torch.int32)).softmax(-1)


@fault
def a_mean_of_integers(tensor):
    return tensor(torch.ones(2, 3, dtype=torch.int32)).mean()


@fault
def a_convolution_with_too_few_channels(tensor):
    return F.conv2d(tensor(torch.ones(1, 3, 8, 8)), tensor(torch.ones(4, 2, 3, 3)))


@fault
def a_kernel_larger_than_its_input(tensor):
    return F.conv2d(tensor(torch.ones(1, 1, 2, 2)), tensor(torch.ones(1, 1, 3, 3)))


@fault
def tensors_that_cannot_be_joined(tensor):
    return torch.cat([tensor(X), tensor(torch.ones(2, 3))])


@fault
def tensors_that_cannot_be_stacked(tensor):
    return torch.stack([tensor(X), tensor(X)[0]])


@fault
def a_leaf_that_requires_grad_changed_in_place(tensor):
    tensor(X).requires_grad_().add_(1)


@fault
def a_view_of_a_leaf_changed_in_place(tensor):
    tensor(X).requires_grad_()[0].mul_(2)


@fault
def a_division_of_integers_by_zero(tensor):
    return torch.tensor([1, 2]) // torch.tensor([0, 1])


@fault
def a_matrix_that_cannot_be_inverted(tensor):
    return torch.linalg.inv(tensor(torch.zeros(2, 2)))


@fault
def a_function_called_with_an_unknown_argument(tensor):
    return torch.add(tensor(X), tensor(X), beta=2)


@fault
def a_number_of_many(tensor):
    return int(tensor(X))


@fault
def a_backward_pass_of_what_needs_no_gradient(tensor):
    tensor(X).sum().backward()


@fault
def a_second_backward_pass_through_freed_memory(tensor):
    loss = (tensor(X).requires_grad_() ** 2).sum()
    loss.backward()
    loss.backward()


@fault
def a_place_that_is_not_there_to_be_written(tensor):
    return torch.select_scatter(tensor(X), tensor(torch.zeros(4)), 0, 100)


@fault
def a_dimension_that_is_not_there_to_be_written(tensor):
    return torch.select_scatter(tensor(X), tensor(torch.zeros(3)), 7, 0)


@fault
def a_slice_that_is_larger_than_its_place(tensor):
    return torch.slice_scatter(tensor(X), tensor(torch.zeros(2, 4)), 0, 0, 1)


@fault
def a_matrix_of_indices_of_rows(tensor):
    return torch.index_select(tensor(X), 0, torch.tensor([[0, 1]]))


@fault
def a_softmax_over_a_dimension_that_is_not_there(tensor):
    return tensor(X).softmax(5)


@fault
def a_sort_along_a_dimension_that_is_not_there(tensor):
    return tensor(X).sort(5)


@fault
def a_logsumexp_over_no_dimension(tensor):
    return torch.logsumexp(tensor(X), [])


@fault
def a_search_in_a_number(tensor):
    return torch.searchsorted(tensor(torch.tensor(1.0)), tensor(torch.ones(3)))


IMAGE, KERNEL = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)


@fault
def a_convolution_with_less_than_no_padding(tensor):
    return F.conv2d(tensor(IMAGE), tensor(KERNEL), padding=-1)


@fault
def a_convolution_without_dilation(tensor):
    return F.conv2d(tensor(IMAGE), tensor(KERNEL), dilation=0)


@fault
def a_convolution_with_a_bias_too_short(tensor):
    return F.conv2d(tensor(IMAGE), tensor(KERNEL), tensor(torch.ones(2)))


@fault
def a_convolution_with_a_column_for_a_bias(tensor):
    return F.conv2d(tensor(IMAGE), tensor(KERNEL), tensor(torch.ones(3, 1)))


@fault
def a_transposed_convolution_with_less_than_no_padding_of_its_output(tensor):
    return F.conv_transpose2d(tensor(IMAGE), tensor(KERNEL).transpose(0, 1), stride=2, output_padding=-1)


@fault
def a_transposed_convolution_of_other_channels(tensor):
    return F.conv_transpose2d(tensor(IMAGE), tensor(KERNEL))


@fault
def a_transposed_convolution_in_groups_that_do_not_divide_it(tensor):
    return F.conv_transpose2d(tensor(torch.ones(1, 3, 5, 5)), tensor(KERNEL), groups=2)


@fault
def windows_of_an_image_with_less_than_no_padding(tensor):
    return F.unfold(tensor(IMAGE), 3, padding=-1)


@fault
def an_interpolation_to_a_size_too_many(tensor):
    return torch.ops.aten.upsample_bilinear2d(tensor(IMAGE), [5, 5, 5], False)


@fault
def a_matrix_and_a_product_that_do_not_fit(tensor):
    return torch.addmm(tensor(torch.ones(3)), tensor(X), tensor(X).t().repeat(1, 2))
